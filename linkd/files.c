#include "files.h"

#include <sys/resource.h>

#include "limits.h"

bool files_may_keep(int fd, FilesUse use)
{
        static const struct {
                rlim_t part, max;
        } left[] = {
                [FILES_NETWORK] = {8, FILES_LEFT_MAX},
                [FILES_USER] = {16, FILES_LEFT_MAX / 2},
                [FILES_OWNER] = {32, FILES_LEFT_MAX / 4},
        };
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return true;
        return (rlim_t)fd < limit.rlim_cur - MIN(limit.rlim_cur / left[use].part, left[use].max);
}
