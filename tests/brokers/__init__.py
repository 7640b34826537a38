"""The real brokers the tests run against, as processes on free loopback ports.

`tests.brokers.fixtures` has one session fixture for each. `python -m tests.brokers` keeps all of them up between
test runs. Every address can come from an environment variable instead; then no process is started:

    BROKERKIT_TEST_KAFKA       127.0.0.1:9092
    BROKERKIT_TEST_KAFKA_SASL  user:password@127.0.0.1:9093, a SASL/PLAIN listener of the same cluster
    BROKERKIT_TEST_KAFKA_SHARE and BROKERKIT_TEST_KAFKA_SHARE_SASL: another one, of 4.2 or later, for share groups
    BROKERKIT_TEST_AMQP        amqp://user:password@127.0.0.1:5672/
    BROKERKIT_TEST_REDIS       redis://user:password@127.0.0.1:6379/0
    BROKERKIT_TEST_POSTGRESQL  postgresql://user:password@127.0.0.1:5432/database, for the stores of dedupe and the outbox
    BROKERKIT_TEST_SQS         http://127.0.0.1:9324
    BROKERKIT_TEST_SNS         http://127.0.0.1:5000: SNS and SQS in one
    BROKERKIT_TEST_REGISTRY    http://127.0.0.1:8081, a schema registry with Confluent's API

Otherwise `BROKERKIT_TEST_VERSIONS` chooses the versions: see `tests.brokers.versions`.

A broker that is neither named nor installed fails its tests, with one sentence that says what to install.
"""
