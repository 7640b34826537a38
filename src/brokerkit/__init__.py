"""One publish/subscribe interface over Kafka, RabbitMQ, SQS and Redis."""
