#!/usr/bin/env bash
# moto lets a worker extend its hold on an SQS message after the hold has ended, and hides the message from everybody once
# more. AWS refuses that with MessageNotInflight. So a renewal that comes too late works in tests, and not in production.
#
# version: moto 5.2.5 with boto3 1.40 or later; ElasticMQ 1.7.1 and fauxqs 2.4.1 do the same
# guess: MessageNotInflight, the error that SQS' API reference gives for ChangeMessageVisibility, and that moto knows.
# seen: 200. The message, which anybody could have received, is hidden for the new time, and its old receipt deletes it.
# Why it matters: the lost lease is the case that a worker's renewal must notice, and no test on moto shows that it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'moto[sqs]==5.2.5' 'boto3>=1.40'
AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none AWS_DEFAULT_REGION=us-east-1 "$folder/venv/bin/python" - <<'PYTHON'
import time

import boto3
from moto import mock_aws

with mock_aws():
    client = boto3.client("sqs")
    queue = client.create_queue(QueueName="payments", Attributes={"VisibilityTimeout": "1"})["QueueUrl"]
    client.send_message(QueueUrl=queue, MessageBody="{}")

    def visible() -> int:
        names = ["ApproximateNumberOfMessages"]
        return int(client.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"][names[0]])

    [message] = client.receive_message(QueueUrl=queue)["Messages"]
    time.sleep(1.5)
    assert visible() == 1, "the hold has not ended"
    answer = client.change_message_visibility(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=30)
    print("the late renewal is answered with", answer["ResponseMetadata"]["HTTPStatusCode"], "visible now:", visible())
    assert visible() == 0, "this finding is out of date"
    assert "Messages" not in client.receive_message(QueueUrl=queue)
PYTHON
