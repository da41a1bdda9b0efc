/* What the agents are compared with: two processes and a Unix socket between them, and libsodium
 * alone. */
#include "app.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BUFFER_BYTES = 128 * 1024 };

static void send_all(int fd, const uint8_t *p, size_t n)
{
        while (n) {
                ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

                if (k <= 0)
                        fatal("the other process has gone");
                p += k;
                n -= (size_t)k;
        }
}

/* Sends back whatever comes, as it comes. Never returns. */
_Noreturn static void echo(int fd)
{
        static uint8_t buffer[BUFFER_BYTES];

        for (;;) {
                ssize_t n = recv(fd, buffer, sizeof(buffer), 0);

                if (n <= 0)
                        _exit(n < 0);
                send_all(fd, buffer, (size_t)n);
        }
}

/* A process that echoes; *ret_fd: our end. */
static pid_t start_echo(int *ret_fd)
{
        int fds[2];
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                fatal("no Unix socket");
        pid = fork();
        if (pid < 0)
                fatal("no process");
        if (pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* cannot fail with a good signal */
                (void)close(fds[0]);
                echo(fds[1]);
        }
        (void)close(fds[1]);
        *ret_fd = fds[0];
        return pid;
}

static void end_echo(pid_t pid, int fd)
{
        int status;

        (void)close(fd); /* it sees the end */
        if (waitpid(pid, &status, 0) != pid || status != 0)
                fatal("the echoing process has failed");
}

void bare_rtt(const AppPlan *p)
{
        _cleanup_(freep) uint32_t *samples = calloc(APP_SAMPLES_MAX, sizeof(*samples));
        _cleanup_(freep) uint8_t *out = calloc(1, p->size), *in = malloc(p->size);
        uint64_t begin = now_nsec() + (uint64_t)p->warm_msec * 1000000,
                 end = begin + (uint64_t)p->msec * 1000000, at;
        size_t n = 0;
        int fd;
        pid_t pid = start_echo(&fd);

        if (!samples || !out || !in)
                fatal("out of memory");
        while (n < APP_SAMPLES_MAX && (at = now_nsec()) < end) {
                send_all(fd, out, p->size);
                if (recv(fd, in, p->size, MSG_WAITALL) != (ssize_t)p->size)
                        fatal("the other process has gone");
                if (at >= begin)
                        samples[n++] = (uint32_t)MIN(now_nsec() - at, (uint64_t)UINT32_MAX);
        }
        end_echo(pid, fd);
        printf("{\"p50_usec\":%.2f,\"p99_usec\":%.2f,\"round_trips\":%zu}\n",
               quantile(samples, n, 0.5) / 1000, quantile(samples, n, 0.99) / 1000, n);
}

/* As fast as there is: one read takes all that has come, one write replaces it. */
void bare_pipeline(const AppPlan *p)
{
        static uint8_t buffer[BUFFER_BYTES];
        size_t window = p->size * p->in_flight, whole, rest = 0;
        uint64_t begin, end, from = 0, n = 0, now;
        int fd;
        pid_t pid = start_echo(&fd);

        if (window > sizeof(buffer))
                fatal("%zu bytes are too many at a time", window);
        send_all(fd, buffer, window);
        begin = now_nsec() + (uint64_t)p->warm_msec * 1000000;
        end = begin + (uint64_t)p->msec * 1000000;
        while ((now = now_nsec()) < end) {
                ssize_t k = recv(fd, buffer, sizeof(buffer), 0);

                if (k <= 0)
                        fatal("the other process has gone");
                if (now < begin)
                        from = n + (rest + (size_t)k) / p->size;
                whole = (rest + (size_t)k) / p->size;
                rest = (rest + (size_t)k) % p->size;
                n += whole;
                send_all(fd, buffer, whole * p->size);
        }
        if (shutdown(fd, SHUT_WR) < 0)
                fatal("shutdown");
        while (recv(fd, buffer, sizeof(buffer), 0) > 0) /* what was under way */
                ;
        end_echo(pid, fd);
        printf("{\"per_sec\":%.0f,\"requests\":%llu}\n",
               (double)(n - from) / ((double)(now - begin) / 1e9), (unsigned long long)(n - from));
}

/* One message after the other, sealed in place of the last, by CPU time. */
void bare_seal(const AppPlan *p)
{
        uint8_t key[crypto_aead_chacha20poly1305_ietf_KEYBYTES];
        uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES] = {};
        size_t out_size = p->size + crypto_aead_chacha20poly1305_ietf_ABYTES;
        _cleanup_(freep) uint8_t *plain = calloc(1, p->size), *out = malloc(out_size);
        uint64_t end = now_nsec() + (uint64_t)p->msec * 1000000, cpu, n = 0;
        double seconds;

        if (!plain || !out)
                fatal("out of memory");
        crypto_aead_chacha20poly1305_ietf_keygen(key);
        for (unsigned i = 0; i < 100; i++) /* warm */
                (void)crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plain, p->size, NULL, 0,
                                                                NULL, nonce, key); /* always 0 */
        cpu = cpu_nsec(getpid());
        while (now_nsec() < end) {
                write_u64le(nonce + 4, ++n);
                (void)crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plain, p->size, NULL, 0,
                                                                NULL, nonce, key); /* always 0 */
        }
        seconds = (double)(cpu_nsec(getpid()) - cpu) / 1e9;
        printf("{\"bytes_per_cpu_sec\":%.0f,\"messages\":%llu}\n", (double)(n * p->size) / seconds,
               (unsigned long long)n);
}
