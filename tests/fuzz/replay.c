/* Runs a harness over every file of the directories that are named. */
#include <dirent.h>

#include "fuzz.h"

enum { INPUT_MAX = 1024 * 1024 };

static void run_file(const char *path)
{
        _cleanup_(freep) uint8_t *data = malloc(INPUT_MAX);
        FILE *f = fopen(path, "re");
        size_t n;

        CHECK(data && f);
        n = fread(data, 1, INPUT_MAX, f);
        CHECK(!ferror(f) && n < INPUT_MAX);
        CHECK(fclose(f) == 0);
        /* an exact end, so that a sanitizer sees a read past it */
        _cleanup_(freep) uint8_t *exact = malloc(n ? n : 1);
        CHECK(exact);
        memcpy(exact, data, n);
        CHECK(LLVMFuzzerTestOneInput(exact, n) == 0);
}

static unsigned run_directory(const char *name)
{
        DIR *d = opendir(name);
        struct dirent *e;
        unsigned n = 0;

        CHECK(d);
        while ((e = readdir(d))) {
                char path[4096];
                int len = snprintf(path, sizeof(path), "%s/%s", name, e->d_name);

                if (e->d_name[0] == '.')
                        continue;
                CHECK(len > 0 && (size_t)len < sizeof(path));
                run_file(path);
                n++;
        }
        closedir(d);
        return n;
}

int main(int argc, char **argv)
{
        for (int i = 1; i < argc; i++) {
                unsigned n = run_directory(argv[i]);

                printf("%s: %u inputs\n", argv[i], n);
                CHECK(n > 0);
        }
        return argc > 1 ? 0 : 1;
}
