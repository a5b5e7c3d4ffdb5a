"""The dataflows of onhand, one a file. Each wires steps that ``onhand`` holds."""
