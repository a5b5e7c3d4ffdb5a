"""HTTP: reads, events in, set-up, and what operators ask for."""
