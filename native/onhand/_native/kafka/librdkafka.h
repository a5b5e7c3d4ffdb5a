/* The part of librdkafka's public interface that a reader needs, and where its functions are.
 *
 * librdkafka comes with confluent-kafka, as a shared library without headers and under a name of
 * its own. So what is used of it is declared here, as its rdkafka.h of 2.x has it: functions and
 * one public structure, which have kept their shape since 0.9. Functions are found at run time by
 * way of confluent-kafka's own extension, so that both always use the one library.
 */
#ifndef ONHAND_KAFKA_LIBRDKAFKA_H
#define ONHAND_KAFKA_LIBRDKAFKA_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "library/library.h"

typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_conf_s rd_kafka_conf_t;
typedef struct rd_kafka_event_s rd_kafka_event_t;
typedef struct rd_kafka_headers_s rd_kafka_headers_t;
typedef struct rd_kafka_queue_s rd_kafka_queue_t;
typedef struct rd_kafka_topic_s rd_kafka_topic_t;
typedef struct rd_kafka_topic_partition_list_s rd_kafka_topic_partition_list_t;

typedef struct {
    int err;
    rd_kafka_topic_t *rkt;  /* NULL for an error that is nobody's */
    int32_t partition;
    void *payload;  /* the value; with an error, its text */
    size_t len;
    void *key;  /* NULL without */
    size_t key_len;
    int64_t offset;
    void *_private;
} rd_kafka_message_t;

enum {
    OH_RDKAFKA_VERSION_MIN = 0x020000ff,
    OH_RDKAFKA_CONSUMER = 1,
    OH_RDKAFKA_NO_CONSUMER_CLOSE = 8,
    OH_RDKAFKA_ERRSTR_BYTES = 512,
};

/* Each function that is used: what it returns, its name without rd_kafka_, what it takes. */
#define OH_RDKAFKA_FUNCTIONS(F)                                                                    \
    F(int, version, (void))                                                                        \
    F(const char *, err2str, (int error))                                                          \
    F(rd_kafka_conf_t *, conf_new, (void))                                                         \
    F(int, conf_set,                                                                               \
      (rd_kafka_conf_t *conf, const char *name, const char *value, char *text, size_t room))       \
    F(void, conf_destroy, (rd_kafka_conf_t *conf))                                                 \
    F(rd_kafka_t *, new, (int type, rd_kafka_conf_t *conf, char *text, size_t room))               \
    F(int, consumer_close, (rd_kafka_t *client))                                                   \
    F(void, destroy_flags, (rd_kafka_t *client, int flags))                                        \
    F(int, poll_set_consumer, (rd_kafka_t *client))                                                \
    F(rd_kafka_queue_t *, queue_new, (rd_kafka_t *client))                                         \
    F(rd_kafka_queue_t *, queue_get_consumer, (rd_kafka_t *client))                                \
    F(rd_kafka_event_t *, queue_poll, (rd_kafka_queue_t *queue, int timeout_ms))                   \
    F(void, queue_destroy, (rd_kafka_queue_t *queue))                                              \
    F(int, set_log_queue, (rd_kafka_t *client, rd_kafka_queue_t *queue))                           \
    F(int, event_log,                                                                              \
      (rd_kafka_event_t *event, const char **facility, const char **text, int *level))             \
    F(void, event_destroy, (rd_kafka_event_t *event))                                              \
    F(rd_kafka_topic_partition_list_t *, topic_partition_list_new, (int count))                    \
    F(void *, topic_partition_list_add,                                                            \
      (rd_kafka_topic_partition_list_t *list, const char *topic, int32_t partition))               \
    F(int, topic_partition_list_set_offset,                                                        \
      (rd_kafka_topic_partition_list_t *list, const char *topic, int32_t partition,                \
       int64_t offset))                                                                            \
    F(void, topic_partition_list_destroy, (rd_kafka_topic_partition_list_t *list))                 \
    F(int, assign, (rd_kafka_t *client, const rd_kafka_topic_partition_list_t *list))              \
    F(int, pause_partitions, (rd_kafka_t *client, rd_kafka_topic_partition_list_t *list))          \
    F(int, resume_partitions, (rd_kafka_t *client, rd_kafka_topic_partition_list_t *list))         \
    F(int, commit,                                                                                 \
      (rd_kafka_t *client, const rd_kafka_topic_partition_list_t *list, int in_background))        \
    F(int, get_watermark_offsets,                                                                  \
      (rd_kafka_t *client, const char *topic, int32_t partition, int64_t *begin, int64_t *end))    \
    F(ssize_t, consume_batch_queue,                                                                \
      (rd_kafka_queue_t *queue, int timeout_ms, rd_kafka_message_t **messages, size_t room))       \
    F(const char *, topic_name, (const rd_kafka_topic_t *topic))                                   \
    F(int64_t, message_timestamp, (const rd_kafka_message_t *message, int *kind))                  \
    F(int, message_headers, (const rd_kafka_message_t *message, rd_kafka_headers_t **headers))     \
    F(const char *, message_errstr, (const rd_kafka_message_t *message))                           \
    F(void, message_destroy, (rd_kafka_message_t *message))                                        \
    F(int, header_get_all,                                                                         \
      (const rd_kafka_headers_t *headers, size_t index, const char **name, const void **value,     \
       size_t *length))

/* Makes oh_rdkafka_t and oh_rdkafka_find. */
OH_LIBRARY(oh_rdkafka, "rd_kafka_", OH_RDKAFKA_FUNCTIONS)

#endif
