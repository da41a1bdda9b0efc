#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "output.h"
#include "text.h"

/* Up to the end, or up to and with the first of stop_at. 0 or negative errno. */
static int read_all(int fd, size_t max, int stop_at, Bytes *b)
{
        char chunk[16384];
        int r = 0;

        for (;;) {
                /* Byte by byte up to a line's end: what follows belongs to somebody else. */
                ssize_t n = read(fd, chunk, stop_at >= 0 ? 1 : sizeof(chunk));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        r = n < 0 ? -errno : 0;
                else
                        r = bytes_add(b, chunk, (size_t)n, max);
                if (n <= 0 || r < 0 || (stop_at >= 0 && chunk[0] == stop_at))
                        break;
        }
        explicit_bzero(chunk, sizeof(chunk));
        return r;
}

static int tell(const Cli *cli, int r, size_t max, const char *what, const char *path)
{
        const char *where = strcmp(path, "-") == 0 ? "standard input" : path;

        if (r == 0)
                return EXIT_OK;
        if (r == -EMSGSIZE)
                return output_error(cli, "tooBig", "%s from %s is longer than %zu bytes", what,
                                    where, max);
        return output_error(cli, "input", "cannot read %s from %s: %s", what, where, strerror(-r));
}

int input_read(const Cli *cli, const char *path, size_t max, const char *what, Bytes *ret)
{
        bool is_stdin = strcmp(path, "-") == 0;
        int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
        int r = fd < 0 ? -errno : read_all(fd, max, -1, ret);

        if (fd >= 0 && !is_stdin)
                (void)close(fd); /* nothing was written */
        return tell(cli, r, max, what, path);
}

static int check_secret(const Cli *cli, const char *what, Bytes *b)
{
        if (b->n == 0)
                return output_error(cli, "input", "%s is empty", what);
        if (strlen(b->p) != b->n || !text_is_utf8(b->p, b->n))
                return output_error(cli, "input", "%s is not UTF-8 text", what);
        return EXIT_OK;
}

static void cut_line_end(Bytes *b)
{
        while (b->n > 0 && strchr("\r\n", b->p[b->n - 1]))
                b->p[--b->n] = '\0';
}

/* From the terminal, not shown. */
static int ask(const char *what, Bytes *ret)
{
        char prompt[128], *text;
        int r;

        (void)snprintf(prompt, sizeof(prompt), "%s: ", what); /* cut is fine */
        text = getpass(prompt);
        if (!text)
                return -errno;
        r = bytes_add(ret, text, strlen(text), SECRET_MAX_BYTES);
        explicit_bzero(text, strlen(text));
        return r;
}

int input_read_key(const Cli *cli, const char *file, const char *what, Bytes *ret)
{
        bool is_stdin = !file || strcmp(file, "-") == 0;
        int r;

        if (!is_stdin)
                r = input_read(cli, file, SECRET_MAX_BYTES, what, ret);
        else
                r = tell(cli,
                         isatty(STDIN_FILENO) ? ask(what, ret)
                                              : read_all(STDIN_FILENO, SECRET_MAX_BYTES, '\n', ret),
                         SECRET_MAX_BYTES, what, "-");
        if (r != EXIT_OK)
                return r;
        cut_line_end(ret);
        return check_secret(cli, what, ret);
}

int input_read_secret(const Cli *cli, const char *text, const char *what, Bytes *ret)
{
        bool is_stdin = strcmp(text, "-") == 0;
        int r;

        if (is_stdin && isatty(STDIN_FILENO))
                fprintf(stderr, "%s: ", what);
        r = is_stdin ? read_all(STDIN_FILENO, SECRET_MAX_BYTES, '\n', ret)
                     : bytes_add(ret, text, strlen(text), SECRET_MAX_BYTES);
        r = tell(cli, r, SECRET_MAX_BYTES, what, is_stdin ? "-" : "the command line");
        if (r != EXIT_OK)
                return r;
        if (is_stdin)
                cut_line_end(ret);
        else if (ret->n == 0)
                return output_usage(cli, "%s is empty", what);
        return check_secret(cli, what, ret);
}

int input_read_json(const Cli *cli, const char *text, Bytes *ret)
{
        bool is_stdin = strcmp(text, "-") == 0;
        const char *start;
        size_t n;
        int r = is_stdin ? input_read(cli, "-", TEXT_MAX_BYTES, "JSON", ret)
                         : tell(cli, bytes_add(ret, text, strlen(text), TEXT_MAX_BYTES),
                                TEXT_MAX_BYTES, "JSON", "the command line");

        if (r != EXIT_OK)
                return r;
        r = text_check_json(ret->p ? ret->p : "", ret->n, &start, &n);
        if (r == -E2BIG)
                return output_usage(cli, "the JSON text is nested deeper than %d", JSON_DEPTH_MAX);
        if (r < 0)
                return output_usage(
                        cli, "%.80s is not a JSON text (a string needs its quotes: '\"text\"')",
                        is_stdin ? "standard input" : text);
        bytes_drop(ret, (size_t)(start - ret->p));
        ret->n = n;
        ret->p[n] = '\0';
        return EXIT_OK;
}
