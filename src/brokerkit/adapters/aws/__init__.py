"""Amazon's SQS, and SNS in front of it."""
