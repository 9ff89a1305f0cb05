/* The least that can restart a process: pidfd_open(2), epoll(7), posix_spawn(3).
 *
 * Starts COUNT copies of AGENT and each again, at once, whenever it ends. Records nothing,
 * limits nothing, checks nothing. What a real supervisor takes longer is the price of what it
 * does beyond this.
 *
 *   floor AGENT SOCKET COUNT
 */
#define _GNU_SOURCE
#include <errno.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVENTS_MAX 64
#define DESCRIPTORS_SPARE 64

extern char **environ;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int start(char *agent, char *socket_name, uint32_t index)
{
    char number[16];
    pid_t pid;

    snprintf(number, sizeof number, "%u", index);
    char *arguments[] = {agent, socket_name, number, NULL};
    errno = posix_spawn(&pid, agent, NULL, NULL, arguments, environ);
    if (errno)
        fail(agent);
    int descriptor = (int)syscall(SYS_pidfd_open, pid, 0);
    if (descriptor < 0)
        fail("pidfd_open");
    return descriptor;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: floor AGENT SOCKET COUNT\n");
        return 2;
    }
    uint32_t count = (uint32_t)strtoul(argv[3], NULL, 10);
    struct rlimit files = {count + DESCRIPTORS_SPARE, count + DESCRIPTORS_SPARE};
    struct rlimit now;
    if (getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur < files.rlim_cur)
        setrlimit(RLIMIT_NOFILE, &files);

    int *descriptors = calloc(count, sizeof *descriptors);
    int poll = epoll_create1(EPOLL_CLOEXEC);
    if (!descriptors || poll < 0)
        fail("epoll_create1");
    for (uint32_t i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        descriptors[i] = start(argv[1], argv[2], i);
        if (epoll_ctl(poll, EPOLL_CTL_ADD, descriptors[i], &event))
            fail("epoll_ctl");
    }
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int ready = epoll_wait(poll, events, EVENTS_MAX, -1);
        for (int e = 0; e < ready; e++) {
            uint32_t i = events[e].data.u32;
            siginfo_t ended;
            waitid(P_PIDFD, (id_t)descriptors[i], &ended, WEXITED);
            /* Closing alone is not enough: a child that is just executing still holds a copy
             * for a moment, and the old descriptor would be reported once more. */
            if (epoll_ctl(poll, EPOLL_CTL_DEL, descriptors[i], NULL))
                fail("epoll_ctl");
            close(descriptors[i]);
            descriptors[i] = start(argv[1], argv[2], i);
            struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
            if (epoll_ctl(poll, EPOLL_CTL_ADD, descriptors[i], &event))
                fail("epoll_ctl");
        }
    }
}
