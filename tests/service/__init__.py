"""Laws of the running service, on real Kafka."""
