"""What of librdkafka is used; see kafka/librdkafka.h."""

from libc.stdint cimport int32_t, int64_t

cdef extern from "kafka/librdkafka.h" nogil:
    enum:
        OH_RDKAFKA_VERSION_MIN
        OH_RDKAFKA_CONSUMER
        OH_RDKAFKA_NO_CONSUMER_CLOSE
        OH_RDKAFKA_ERRSTR_BYTES

    ctypedef struct rd_kafka_t:
        pass
    ctypedef struct rd_kafka_conf_t:
        pass
    ctypedef struct rd_kafka_event_t:
        pass
    ctypedef struct rd_kafka_headers_t:
        pass
    ctypedef struct rd_kafka_queue_t:
        pass
    ctypedef struct rd_kafka_topic_t:
        pass
    ctypedef struct rd_kafka_topic_partition_list_t:
        pass

    ctypedef struct rd_kafka_message_t:
        int err
        rd_kafka_topic_t *rkt
        int32_t partition
        void *payload
        size_t len
        void *key
        size_t key_len
        int64_t offset

    ctypedef struct oh_rdkafka_t:
        int (*version)() noexcept nogil
        const char *(*err2str)(int) noexcept nogil
        rd_kafka_conf_t *(*conf_new)() noexcept nogil
        int (*conf_set)(
            rd_kafka_conf_t *, const char *, const char *, char *, size_t) noexcept nogil
        void (*conf_destroy)(rd_kafka_conf_t *) noexcept nogil
        rd_kafka_t *(*create "new")(int, rd_kafka_conf_t *, char *, size_t) noexcept nogil
        int (*consumer_close)(rd_kafka_t *) noexcept nogil
        void (*destroy_flags)(rd_kafka_t *, int) noexcept nogil
        int (*poll_set_consumer)(rd_kafka_t *) noexcept nogil
        rd_kafka_queue_t *(*queue_new)(rd_kafka_t *) noexcept nogil
        rd_kafka_queue_t *(*queue_get_consumer)(rd_kafka_t *) noexcept nogil
        rd_kafka_event_t *(*queue_poll)(rd_kafka_queue_t *, int) noexcept nogil
        void (*queue_destroy)(rd_kafka_queue_t *) noexcept nogil
        int (*set_log_queue)(rd_kafka_t *, rd_kafka_queue_t *) noexcept nogil
        int (*event_log)(rd_kafka_event_t *, const char **, const char **, int *) noexcept nogil
        void (*event_destroy)(rd_kafka_event_t *) noexcept nogil
        rd_kafka_topic_partition_list_t *(*topic_partition_list_new)(int) noexcept nogil
        void *(*topic_partition_list_add)(
            rd_kafka_topic_partition_list_t *, const char *, int32_t) noexcept nogil
        int (*topic_partition_list_set_offset)(
            rd_kafka_topic_partition_list_t *, const char *, int32_t, int64_t) noexcept nogil
        void (*topic_partition_list_destroy)(rd_kafka_topic_partition_list_t *) noexcept nogil
        int (*assign)(rd_kafka_t *, const rd_kafka_topic_partition_list_t *) noexcept nogil
        int (*pause_partitions)(rd_kafka_t *, rd_kafka_topic_partition_list_t *) noexcept nogil
        int (*resume_partitions)(rd_kafka_t *, rd_kafka_topic_partition_list_t *) noexcept nogil
        int (*commit)(rd_kafka_t *, const rd_kafka_topic_partition_list_t *, int) noexcept nogil
        int (*get_watermark_offsets)(
            rd_kafka_t *, const char *, int32_t, int64_t *, int64_t *) noexcept nogil
        ssize_t (*consume_batch_queue)(
            rd_kafka_queue_t *, int, rd_kafka_message_t **, size_t) noexcept nogil
        const char *(*topic_name)(const rd_kafka_topic_t *) noexcept nogil
        int64_t (*message_timestamp)(const rd_kafka_message_t *, int *) noexcept nogil
        int (*message_headers)(const rd_kafka_message_t *, rd_kafka_headers_t **) noexcept nogil
        const char *(*message_errstr)(const rd_kafka_message_t *) noexcept nogil
        void (*message_destroy)(rd_kafka_message_t *) noexcept nogil
        int (*header_get_all)(
            const rd_kafka_headers_t *, size_t, const char **, const void **, size_t *
        ) noexcept nogil

    const char *oh_rdkafka_find(oh_rdkafka_t *, const char *)
