/* Preloaded into a program: each fsync() takes $DISK_MSEC more; and while the file $DISK_FAULT is
 * there and says "WHAT ERRNO SKIP", all calls of WHAT but the first SKIP fail: `dir` is fsync() of
 * a directory, `file` that of a file, `unlink` is unlinkat(). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* Whether this call of what fails; errno is set then. */
static int fails(const char *what)
{
        static int skipped;
        const char *path = getenv("DISK_FAULT");
        char word[16] = "";
        int error = 0, skip = 0, n;
        FILE *f = path ? fopen(path, "re") : NULL;

        if (!f) {
                skipped = 0;
                return 0;
        }
        n = fscanf(f, "%15s %d %d", word, &error, &skip);
        (void)fclose(f); /* read only */
        if (n != 3 || strcmp(word, what) != 0 || skipped++ < skip)
                return 0;
        errno = error;
        return 1;
}

static void be_slow(void)
{
        const char *text = getenv("DISK_MSEC");
        long msec = text ? strtol(text, NULL, 10) : 0;
        struct timespec t = {msec / 1000, msec % 1000 * 1000000};

        if (msec)
                (void)nanosleep(&t, NULL); /* less, if a signal comes */
}

EXPORT int fsync(int fd)
{
        struct stat st;

        be_slow();
        if (fstat(fd, &st) == 0 && fails(S_ISDIR(st.st_mode) ? "dir" : "file"))
                return -1;
        return (int)syscall(SYS_fsync, fd);
}

EXPORT int unlinkat(int dir_fd, const char *path, int flags)
{
        return fails("unlink") ? -1 : (int)syscall(SYS_unlinkat, dir_fd, path, flags);
}
