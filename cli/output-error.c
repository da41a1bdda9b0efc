#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <unistd.h>

#include "output.h"
#include "text.h"

static void print_json_error(const char *word, const char *message)
{
        _cleanup_(freep) char *text = NULL;
        json_t *o = json_pack("{s:s, s:s}", "error", word, "message", message);

        if (o)
                text = json_dumps(o, JSON_COMPACT);
        json_decref(o);
        /* Without memory at least the form is kept. */
        fprintf(stderr, "%s\n",
                text ? text : "{\"error\":\"internal\",\"message\":\"out of memory\"}");
}

static void print_error(const Cli *cli, const char *word, const char *message)
{
        _cleanup_(freep) char *clean = text_clean(message, strlen(message));
        bool valid = text_is_utf8(message, strlen(message));

        if (cli->json)
                print_json_error(word, valid || !clean ? message : clean);
        else
                fprintf(stderr, "linkctl: %s\n", clean ? clean : "out of memory");
}

static void print_error_va(const Cli *cli, const char *word, const char *format, va_list ap)
        _printf_(3, 0);
static void print_error_va(const Cli *cli, const char *word, const char *format, va_list ap)
{
        _cleanup_(freep) char *message = NULL;

        if (vasprintf(&message, format, ap) < 0)
                message = NULL;
        print_error(cli, message ? word : "internal", message ? message : "out of memory");
}

int output_error(const Cli *cli, const char *word, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        print_error_va(cli, word, format, ap);
        va_end(ap);
        return EXIT_FAILED;
}

int output_usage(const Cli *cli, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        print_error_va(cli, "usage", format, ap);
        va_end(ap);
        if (!cli->json)
                fprintf(stderr, "Try: linkctl %s%s--help\n", cli->verb ? cli->verb->name : "",
                        cli->verb ? " " : "");
        return EXIT_USAGE;
}

int output_no_memory(const Cli *cli)
{
        return output_error(cli, "internal", "out of memory");
}

void output_progress(const char *format, ...)
{
        _cleanup_(freep) char *message = NULL, *clean = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&message, format, ap) < 0)
                message = NULL;
        va_end(ap);
        clean = message ? text_clean(message, strlen(message)) : NULL;
        if (clean)
                fprintf(stderr, "%s\n", clean);
}

/* Whether stdout is a pipe that nobody will read. */
static bool reader_is_gone(void)
{
        struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

        return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

int output_finish(const Cli *cli)
{
        int failed = ferror(stdout), e;

        errno = 0;
        if (fflush(stdout) == 0 && !failed)
                return EXIT_OK;
        e = errno;
        if (!cli->json && reader_is_gone())
                return EXIT_FAILED; /* as `| head` leaves it: who has seen enough is not told more
                                     */
        return output_error(cli, "output", "cannot write to standard output%s%s", e ? ": " : "",
                            e ? strerror(e) : "");
}
