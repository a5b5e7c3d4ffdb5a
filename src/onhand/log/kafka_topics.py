"""Creating topics in Kafka, and saying which existing ones break a promise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs re-export nothing
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from onhand.log.kafka_options import KafkaOptions, from_exception
from onhand.log.topics import Topic

REPLICAS: Final = 3
REPLICAS_IN_SYNC: Final = 2
FRAMING_BYTES: Final = 1_024
"""What a batch of one record is larger than its key, value and headers."""

Configs = Mapping[str, str]


def create_topics(
    admin: AdminClient,
    options: KafkaOptions,
    topics: Sequence[Topic],
    partition_count: int,
    broker_count: int,
) -> None:
    """Create topics; that another process was quicker is no error.

    Raises
    ------
    OnhandError
        Kafka refuses.
    """
    replicas = min(REPLICAS, broker_count)
    wanted = [
        NewTopic(
            options.topic_prefix + topic.name,
            num_partitions=topic.partition_count or partition_count,
            replication_factor=replicas,
            config=topic_config(topic, options, replicas),
        )
        for topic in topics
    ]
    created: dict[str, Future[None]] = admin.create_topics(
        wanted, request_timeout=options.request_timeout_s
    )
    for name, future in created.items():
        try:
            future.result(options.request_timeout_s + 1)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise from_exception(error, options, name) from error


def topic_config(topic: Topic, options: KafkaOptions, replicas: int) -> dict[str, str]:
    """Return the configuration a topic is created with."""
    config = {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(topic.record_bytes_max + FRAMING_BYTES),
    }
    if topic.compacted:
        config["cleanup.policy"] = "compact"
    else:
        config["retention.ms"] = str(options.retention_hours * 3_600_000)
    if replicas >= REPLICAS:
        config["min.insync.replicas"] = str(REPLICAS_IN_SYNC)
    return config


def describe(
    admin: AdminClient, options: KafkaOptions, topics: list[str]
) -> dict[str, dict[str, str]]:
    """Return the configuration of topics, by the names that onhand gives them.

    Raises
    ------
    OnhandError
        Kafka does not answer, or does not let this user ask.
    """
    resources = [ConfigResource(ResourceType.TOPIC, options.topic_prefix + t) for t in topics]
    asked: dict[ConfigResource, Future[dict[str, Any]]] = admin.describe_configs(
        resources, request_timeout=options.request_timeout_s
    )
    found = {}
    for topic, resource in zip(topics, resources, strict=True):
        try:
            entries = asked[resource].result(options.request_timeout_s + 1)
        except KafkaException as error:
            raise from_exception(error, options, topic) from error
        found[topic] = {name: e.value for name, e in entries.items() if e.value is not None}
    return found


def has_leaders(topic: Any) -> bool:
    """Tell from a topic's metadata whether every partition can be written."""
    return bool(topic.partitions) and all(
        partition.leader >= 0 for partition in topic.partitions.values()
    )


def warnings(
    topic: Topic, config: Configs, partition_count: int, replica_count: int
) -> Iterator[str]:
    """Yield what is wrong with a topic that exists, each with what to do.

    What a broker does not tell is not held against it.
    """
    needed = topic.record_bytes_max + FRAMING_BYTES
    if config.get("message.timestamp.type", "LogAppendTime") != "LogAppendTime":
        yield (
            "records carry their publishers' clocks and not the time of arrival, so late and "
            "early events are judged wrongly. Set message.timestamp.type=LogAppendTime"
        )
    if replica_count < REPLICAS:
        yield (
            f"there are fewer than {REPLICAS} replicas, and a lost disk may lose accepted events. "
            "Reassign the partitions to more brokers"
        )
    if int(config.get("min.insync.replicas", REPLICAS_IN_SYNC)) < REPLICAS_IN_SYNC:
        yield (
            "a record is accepted when one broker has it. "
            f"Set min.insync.replicas={REPLICAS_IN_SYNC}"
        )
    if int(config.get("max.message.bytes", needed)) < needed:
        yield f"the largest events do not fit. Set max.message.bytes={needed}"
    if topic.partition_count is not None and partition_count != topic.partition_count:
        yield (
            f"there are {partition_count} partitions, and its order needs "
            f"{topic.partition_count}. Delete the topic while nothing is in it"
        )
    if topic.compacted and "compact" not in config.get("cleanup.policy", "compact"):
        yield "what has not changed lately is forgotten. Set cleanup.policy=compact"
