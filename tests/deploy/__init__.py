"""What the service is deployed with."""
