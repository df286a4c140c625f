"""What a plain loop over kafka-python makes: each record polled and parsed by ``json.loads``, and nothing else.

``python -m benchmarks.kafka_plain BOOTSTRAP EVENTS TOPIC...`` prints seconds from the first record to the last.
"""

from __future__ import annotations

import json
import sys
import time

from kafka import KafkaConsumer, TopicPartition


def main() -> None:
    bootstrap, events, *topics = sys.argv[1:]
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed", check_crcs=True)
    partitions = [TopicPartition(topic, n) for topic in topics for n in consumer.partitions_for_topic(topic)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    seen, began = 0, None
    while seen < int(events):
        for records in consumer.poll(1_000, 10_000).values():
            began = began or time.perf_counter()
            for record in records:
                json.loads(record.value)
            seen += len(records)
    assert began is not None
    print(json.dumps({"seconds": time.perf_counter() - began}))
    consumer.close()


if __name__ == "__main__":
    main()
