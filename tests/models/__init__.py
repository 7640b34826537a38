"""What brokers do, as a model made of their capabilities, which real and simulated brokers are both held to."""
