"""From the event log to the supply table: read, decode, judge, route, apply, checkpoint."""
