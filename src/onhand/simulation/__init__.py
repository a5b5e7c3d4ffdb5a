"""The whole engine on simulated edges, from one seed; read docs/simulation.md first."""
