#include "workdir.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <uv.h>

#include "linkd/log.h"
#include "tests/fuzz/fuzz.h"

LogLevel log_max_level = LOG_LEVEL_DEBUG;
bool log_to_journal;

static char dir[64];

static void remove_dir(void)
{
        workdir_clear();
        (void)rmdir(dir); /* what is left is seen by who looks for it */
}

const char *workdir(void)
{
        if (dir[0])
                return dir;
        (void)snprintf(dir, sizeof(dir), "%s/link-fuzz-XXXXXX",
                       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"); /* fits */
        CHECK(mkdtemp(dir));
        CHECK(atexit(remove_dir) == 0);
        return dir;
}

const char *workdir_path(const char *name)
{
        static char path[512];
        int n = snprintf(path, sizeof(path), "%s/%s", workdir(), name);

        CHECK(n > 0 && (size_t)n < sizeof(path));
        return path;
}

void workdir_write(const char *name, const void *data, size_t len)
{
        int fd = open(workdir_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        CHECK(fd >= 0);
        CHECK(write(fd, data, len) == (ssize_t)len);
        CHECK(close(fd) == 0);
}

void workdir_clear(void)
{
        DIR *d = opendir(workdir());
        struct dirent *e;

        CHECK(d);
        while ((e = readdir(d)))
                if (e->d_type != DT_DIR)
                        CHECK(unlink(workdir_path(e->d_name)) == 0);
        CHECK(closedir(d) == 0);
}

/* glibc lets the stream itself be replaced. */
static FILE *real_stderr;
static char *text;
static size_t text_len;

void capture_begin(void)
{
        free(text);
        text = NULL;
        real_stderr = stderr;
        stderr = open_memstream(&text, &text_len);
        CHECK(stderr);
}

const char *capture_end(void)
{
        FILE *f = stderr;

        stderr = real_stderr;
        CHECK(fclose(f) == 0 && text);
        return text;
}

/* In the place of uv_getaddrinfo(): fails as it does, later, and asks nobody. */
int workdir_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *req, uv_getaddrinfo_cb func,
                        const char *host, const char *port, const struct addrinfo *hints);
int workdir_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *req, uv_getaddrinfo_cb func,
                        const char *host, const char *port, const struct addrinfo *hints)
{
        static const struct addrinfo numeric = {.ai_flags = AI_NUMERICHOST};

        (void)host;
        (void)port;
        (void)hints;
        return uv_getaddrinfo(loop, req, func, "not an address", NULL, &numeric);
}

/* libconfig 1.5 loses a string that it has begun when the text goes on wrongly. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
        return "leak:libconfig.so\n";
}
