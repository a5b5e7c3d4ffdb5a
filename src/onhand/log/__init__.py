"""The event log: one small interface, embedded in the data directory or Kafka behind it."""
