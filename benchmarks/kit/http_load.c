/* The least an HTTP load can cost: many connections on one thread, requests made beforehand.
 *
 *     http_load PORT CONNECTIONS SECONDS RATE < requests
 *
 * RATE 0 is a closed loop: each connection sends its next request when it has the answer. Otherwise
 * requests fall due at RATE a second by the clock, whether or not a connection is free, and latency
 * counts from then; between them the load sleeps, for it may share its cores with the server.
 * SECONDS 0 is a closed loop that sends each request once and waits for every answer.
 * Requests on standard input are a 32-bit length and the bytes of each.
 * Prints: answers, answers other than 2xx, seconds, then p50 p90 p99 p99.9 and max in microseconds;
 * with SECONDS 0 one line more: the first digit of each answer's status, in the order of requests.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES (1 << 20)
#define LATENCY_MAX 40000000
#define EVENT_COUNT 256
#define WAIT_NS_MAX 100000000
#define GRACE_NS 30000000000
#define CHECK(ok, what) do { if (!(ok)) { perror(what); exit(1); } } while (0)

typedef struct {
    int fd;
    int64_t due_ns;         /* of the request on its way; 0: idle */
    size_t which;           /* that request is */
    size_t received;
    size_t wanted;          /* whole answer; 0: its head is not complete */
    char *buffer;
} connection_t;

static char **requests;
static uint32_t *lengths;
static size_t request_count, next_request;
static uint32_t *latencies;
static size_t answer_count, bad_count;
static char *first_digits;  /* of each request's answer, when each is sent once */

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void read_requests(void)
{
    uint32_t length;
    size_t capacity = 0;
    while (fread(&length, sizeof length, 1, stdin) == 1) {
        if (request_count == capacity) {
            capacity = capacity ? capacity * 2 : 1024;
            requests = realloc(requests, capacity * sizeof *requests);
            lengths = realloc(lengths, capacity * sizeof *lengths);
            CHECK(requests && lengths, "memory");
        }
        requests[request_count] = malloc(length);
        CHECK(fread(requests[request_count], 1, length, stdin) == length, "requests");
        lengths[request_count++] = length;
    }
}

static void open_connection(connection_t *connection, int port, int poll)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    connection->fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(connection->fd, (void *)&address, sizeof address) == 0, "connect");
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
    connection->buffer = malloc(BUFFER_BYTES);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    CHECK(epoll_ctl(poll, EPOLL_CTL_ADD, connection->fd, &event) == 0, "epoll");
}

static void ask(connection_t *connection, int64_t due_ns)
{
    if (first_digits && next_request == request_count)
        return;
    size_t which = next_request++ % request_count;
    size_t sent = 0;
    while (sent < lengths[which]) {
        ssize_t done = write(connection->fd, requests[which] + sent, lengths[which] - sent);
        CHECK(done > 0 || errno == EAGAIN, "write");
        sent += done > 0 ? (size_t)done : 0;
    }
    connection->which = which;
    connection->due_ns = due_ns;
    connection->received = connection->wanted = 0;
}

static void read_head(connection_t *connection)
{
    connection->buffer[connection->received] = 0;
    char *end = strstr(connection->buffer, "\r\n\r\n");
    if (end == NULL)
        return;
    char *length = strcasestr(connection->buffer, "\r\ncontent-length:");
    CHECK(length != NULL && length < end, "an answer without a length");
    connection->wanted = (size_t)(end + 4 - connection->buffer) + strtoul(length + 17, NULL, 10);
    CHECK(connection->wanted < BUFFER_BYTES, "an answer too large");
    bad_count += strncmp(connection->buffer + 8, " 2", 2) != 0;
    if (first_digits)
        first_digits[connection->which] = connection->buffer[9];
}

/* True when the answer is complete. */
static int take(connection_t *connection)
{
    ssize_t got = read(connection->fd, connection->buffer + connection->received,
                       BUFFER_BYTES - 1 - connection->received);
    CHECK(got > 0, "the server closed a connection");
    connection->received += (size_t)got;
    if (connection->wanted == 0)
        read_head(connection);
    if (connection->wanted == 0 || connection->received < connection->wanted)
        return 0;
    if (answer_count < LATENCY_MAX)
        latencies[answer_count] = (uint32_t)((now_ns() - connection->due_ns) / 1000);
    answer_count++;
    connection->due_ns = 0;
    return 1;
}

static connection_t *find_idle(connection_t *connections, int count)
{
    static int from;
    for (int tried = 0; tried < count; tried++) {
        connection_t *connection = &connections[from++ % count];
        if (connection->due_ns == 0)
            return connection;
    }
    return NULL;
}

/* Sleep until an answer comes or the next request is due; with no connection free, until an answer
 * comes. */
static int wait_events(int poll, struct epoll_event *events, int64_t wait_ns)
{
    struct timespec wait = {.tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000};
    return epoll_pwait2(poll, events, EVENT_COUNT, &wait, NULL);
}

/* With each request sent once, whether answers are missing; they must not stop coming. */
static int is_missing_answers(int64_t now)
{
    static size_t seen_count;
    static int64_t seen_ns;
    if (seen_ns == 0 || answer_count > seen_count)
        seen_ns = now;
    seen_count = answer_count;
    CHECK(now - seen_ns < GRACE_NS, "answers that do not come");
    return answer_count < request_count;
}

static int goes_on(int64_t now, int64_t end)
{
    if (first_digits)
        return is_missing_answers(now);
    /* A short run on a crowded machine goes on until there is something to tell. */
    return now < end || (answer_count == 0 && now < end + GRACE_NS);
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    CHECK(argc == 5, "usage");
    int port = atoi(argv[1]), connection_count = atoi(argv[2]);
    double seconds = atof(argv[3]), rate = atof(argv[4]);
    read_requests();
    CHECK(request_count > 0, "no requests");
    if (seconds == 0)
        first_digits = calloc(request_count + 1, 1);
    int poll = epoll_create1(0);
    connection_t *connections = calloc((size_t)connection_count, sizeof *connections);
    latencies = malloc(LATENCY_MAX * sizeof *latencies);
    for (int at = 0; at < connection_count; at++)
        open_connection(&connections[at], port, poll);
    int64_t begin = now_ns(), end = begin + (int64_t)(seconds * 1e9), now = begin;
    int64_t due_count = 0, wait_ns;
    prctl(PR_SET_TIMERSLACK, 1);
    if (rate == 0)
        for (int at = 0; at < connection_count; at++)
            ask(&connections[at], now_ns());
    struct epoll_event events[EVENT_COUNT];
    while (now = now_ns(), goes_on(now, end)) {
        wait_ns = WAIT_NS_MAX;
        /* What is due and finds no connection free stays due: its latency grows meanwhile. */
        for (connection_t *idle; rate > 0 && (idle = find_idle(connections, connection_count));) {
            int64_t due = begin + (int64_t)((double)due_count / rate * 1e9);
            if (due > now) {
                wait_ns = due - now < WAIT_NS_MAX ? due - now : WAIT_NS_MAX;
                break;
            }
            ask(idle, due);
            due_count++;
        }
        int ready = wait_events(poll, events, wait_ns);
        for (int at = 0; at < ready; at++)
            if (take(events[at].data.ptr) && rate == 0)
                ask(events[at].data.ptr, now_ns());
    }
    double took = (double)(now - begin) / 1e9;
    size_t kept = answer_count < LATENCY_MAX ? answer_count : LATENCY_MAX;
    CHECK(kept > 0, "no answers");
    qsort(latencies, kept, sizeof *latencies, compare);
    printf("%zu %zu %f", answer_count, bad_count, took);
    double quantiles[] = {0.5, 0.9, 0.99, 0.999};
    for (int at = 0; at < 4; at++)
        printf(" %u", latencies[(size_t)(quantiles[at] * (double)(kept - 1))]);
    printf(" %u\n", latencies[kept - 1]);
    if (first_digits)
        printf("%s\n", first_digits);
    return 0;
}
