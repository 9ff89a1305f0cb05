/* An agent that falls silent, and says when it was told to stop.
 *
 *   beat SOCKET BEATS EVERY_MS
 *
 * READY=1 and BEATS heartbeats go to $NOTIFY_SOCKET (sd_notify(3)), EVERY_MS milliseconds apart.
 * Then it waits for SIGTERM, and sends one record to the benchmark's datagram socket SOCKET
 * (unix(7), abstract name). It ends after five minutes whatever happens.
 */
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LIFE_MAX_SECONDS 300

/* Native byte order: the reader is on this machine. Nanoseconds of CLOCK_MONOTONIC. */
struct record {
    uint64_t pid;
    uint64_t last_beat; /* read just before it was sent */
    uint64_t stop;      /* read when SIGTERM was there */
};

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* A name that begins with '@' is an abstract one. */
static int send_to(const char *name, const void *data, size_t size)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ssize_t sent;

    if (sock < 0 || length + 1 > sizeof address.sun_path)
        return -1;
    memcpy(address.sun_path, name, length);
    if (name[0] == '@')
        address.sun_path[0] = 0;
    sent = sendto(sock, data, size, 0, (struct sockaddr *)&address,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
    close(sock);
    return sent == (ssize_t)size ? 0 : -1;
}

static int notify(const char *text)
{
    const char *name = getenv("NOTIFY_SOCKET");

    return name ? send_to(name, text, strlen(text)) : -1;
}

int main(int argc, char **argv)
{
    struct record record = {.pid = (uint64_t)getpid()};
    struct timespec pause = {0};
    sigset_t stop;
    int number;

    if (argc != 4) {
        fprintf(stderr, "usage: beat SOCKET BEATS EVERY_MS\n");
        return 2;
    }
    alarm(LIFE_MAX_SECONDS);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    pause.tv_nsec = atol(argv[3]) % 1000 * 1000000;
    pause.tv_sec = atol(argv[3]) / 1000;
    if (notify("READY=1"))
        return 1;
    for (int left = atoi(argv[2]); left > 0; left--) {
        nanosleep(&pause, NULL);
        record.last_beat = now();
        if (notify("WATCHDOG=1"))
            return 1;
    }
    sigwait(&stop, &number);
    record.stop = now();
    return send_to(argv[1], &record, sizeof record) ? 1 : 0;
}
