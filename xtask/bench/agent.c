/* An agent that only says when it came to life.
 *
 * Its first act is to read CLOCK_MONOTONIC; then it sends one record to the benchmark's datagram
 * socket (unix(7), abstract name) and waits to be killed. Built static, so that its own start
 * costs next to nothing.
 *
 *   agent SOCKET INDEX [READY_FD]
 *   agent [NAME]                   the same words, taken from the file agent.args beside it:
 *                                  for supervisors that give no arguments, or one of their own
 *
 * READY_FD gets a newline and is closed: how s6 is told of readiness.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define WORDS_MAX 3
#define ARGS_FILE_BYTES_MAX 512

/* Native byte order: the reader is on this machine, and learns the sender from the kernel. */
struct record {
    uint64_t index;
    uint64_t nanoseconds;
};

static void report(const char *name, const struct record *record)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (sock < 0 || length + 1 > sizeof address.sun_path)
        return;
    memcpy(address.sun_path + 1, name, length);
    /* A benchmark that is gone is no reason to end: its supervisor would start us for ever. */
    (void)!sendto(sock, record, sizeof *record, 0, (struct sockaddr *)&address,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length));
    close(sock);
}

static int words_of_file(char *text, char **words)
{
    int count = 0;
    int file = open("agent.args", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, text, ARGS_FILE_BYTES_MAX - 1);

    if (file >= 0)
        close(file);
    text[length > 0 ? length : 0] = 0;
    for (char *word = strtok(text, " \n"); word && count < WORDS_MAX; word = strtok(NULL, " \n"))
        words[count++] = word;
    return count;
}

int main(int argc, char **argv)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);

    char text[ARGS_FILE_BYTES_MAX];
    char *from_file[WORDS_MAX] = {0};
    char **words = argv + 1;
    int count = argc - 1;

    if (count < 2) {
        words = from_file;
        count = words_of_file(text, words);
    }
    if (count < 2) {
        fprintf(stderr, "usage: agent SOCKET INDEX [READY_FD]\n");
        return 2;
    }
    struct record record = {
        .index = strtoull(words[1], NULL, 10),
        .nanoseconds = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
    };
    report(words[0], &record);
    if (count > 2) {
        int ready = atoi(words[2]);
        (void)!write(ready, "\n", 1);
        close(ready);
    }
    for (;;)
        pause();
}
