"""Programs to begin with for whoever reads the output topics; they need confluent-kafka only."""
