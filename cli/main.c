/* linkctl: the command line of Link. A line is understood by options.c, done by command-*.c. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "options.h"
#include "output.h"
#include "agent.h"

/* A socket must not become descriptor 0, 1 or 2 because somebody closed it: what is read and
 * printed would go there. The stand-ins fail as the closed ones would. */
static bool fill_standard_files(void)
{
        for (int fd = 0; fd <= 2; fd++)
                if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
                    open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
                        return false;
        return true;
}

int main(int argc, char **argv)
{
        Cli cli = {};
        int r, status;

        if (!fill_standard_files())
                return EXIT_FAILED; /* and there is nowhere to say so */
        if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
                return output_error(&cli, "internal", "cannot ignore SIGPIPE");
        agent_wipe_json();
        r = options_parse(&cli, argc, argv);
        status = r < 0 ? EXIT_USAGE : r == OPTIONS_HELP ? EXIT_OK : cli.verb->run(&cli);
        /* What was printed counts only if it arrived. One failure is told once. */
        return status == EXIT_OK ? output_finish(&cli) : status;
}
