"""The native core: built from native/onhand/_native, imported by the modules that face it."""
