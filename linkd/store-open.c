/* Opening the state directory: its rights, its lock, the master key. Declared in store.h. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "store-internal.h"

enum { MASTER_KEY_BYTES = crypto_aead_xchacha20poly1305_ietf_KEYBYTES };

static const char master_name[] = "master.key";
static const char credential_name[] = "linkd.master"; /* systemd.exec(5) LoadCredential= */
static const char from_credential[] = "the credential linkd.master in $CREDENTIALS_DIRECTORY";
static const char from_file[] = "master.key there";

void store_close_fdp(int *fd)
{
        if (*fd >= 0)
                (void)close(*fd); /* read-only, or already synced */
}

int store_fault(char **ret, int error, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        if (vasprintf(ret, format, ap) < 0)
                *ret = NULL;
        va_end(ap);
        return error;
}

int store_read_all(int fd, void *p, size_t size, size_t *ret)
{
        size_t n = 0;

        while (n < size) {
                ssize_t r = read(fd, (uint8_t *)p + n, size - n);
                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0)
                        return -errno;
                if (r == 0)
                        break;
                n += (size_t)r;
        }
        *ret = n;
        return 0;
}

/* ---- opening ---- */

/* Makes the directories above a path, as a first start of `linkd --user` needs it. */
static int make_parents(const char *path)
{
        _cleanup_(freep) char *copy = strdup(path);

        if (!copy)
                return -ENOMEM;
        for (char *p = copy + 1; *p; p++) {
                if (*p != '/')
                        continue;
                *p = '\0';
                if (mkdir(copy, 0700) < 0 && errno != EEXIST)
                        return -errno;
                *p = '/';
        }
        return 0;
}

/* A new directory survives a crash once its name in the one above does. */
static int sync_parent(int dir_fd)
{
        _cleanup_(store_close_fdp) int fd =
                openat(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* What is checked is what was opened: the name may lead elsewhere a moment later. */
static int check_dir(const Store *s, char **ret_fault)
{
        struct stat st;

        if (fstat(s->dir_fd, &st) < 0)
                return store_fault(ret_fault, -errno, "state directory %s: %s", s->dir,
                                   strerror(errno));
        if (st.st_uid != geteuid())
                return store_fault(ret_fault, -EPERM,
                                   "state directory %s belongs to uid %u, not to uid %u", s->dir,
                                   st.st_uid, geteuid());
        if (st.st_mode & 0077)
                return store_fault(
                        ret_fault, -EPERM,
                        "state directory %s is open to others (mode %04o); run: chmod 700 %s",
                        s->dir, st.st_mode & 07777, s->dir);
        return 0;
}

static int open_dir(Store *s, char **ret_fault)
{
        int r = make_parents(s->dir);
        bool made = r == 0 && mkdir(s->dir, 0700) == 0;

        if (r == 0 && !made && errno != EEXIST)
                r = -errno;
        if (r < 0)
                return store_fault(ret_fault, r, "cannot make the state directory %s: %s", s->dir,
                                   strerror(-r));
        s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->dir_fd < 0)
                return store_fault(ret_fault, -errno, "state directory %s: %s", s->dir,
                                   strerror(errno));
        if (made && (r = sync_parent(s->dir_fd)) < 0)
                log_warning("the directory above %s cannot be synced: %s", s->dir, strerror(-r));
        return check_dir(s, ret_fault);
}

/* It only tells others whose the lock is: where it cannot be written, an agent starts all the same.
 */
static void write_pid(const Store *s)
{
        char pid[32];
        size_t n = (size_t)snprintf(pid, sizeof(pid), "%d\n", getpid());
        _cleanup_(store_close_fdp) int fd =
                openat(s->dir_fd, "lock", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

        if (fd < 0 || pwrite(fd, pid, n, 0) != (ssize_t)n || ftruncate(fd, (off_t)n) < 0)
                log_debug("cannot write %s/lock: %s", s->dir, strerror(errno));
}

/* What is there works also where nothing can be changed: so the machine can still be reached. */
static void check_writable(Store *s)
{
        s->last_error = store_check_writable(s);
        if (s->last_error < 0)
                log_warning("the state directory %s cannot be written, so nothing new can be kept: "
                            "%s; %s",
                            s->dir, strerror(-s->last_error), store_remedy(s->last_error));
}

static int take_lock(Store *s, char **ret_fault)
{
        char pid[32] = "";
        size_t n;

        /* To read: what is held open does not keep the file system from going read-only, and an
         * agent starts on one that is. */
        s->lock_fd = openat(s->dir_fd, "lock", O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (s->lock_fd < 0) {
                int error = -errno;
                return store_fault(ret_fault, error,
                                   "cannot write in the state directory %s: %s; %s", s->dir,
                                   strerror(-error), store_remedy(error));
        }
        if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
                int error = -errno;
                if (error != -EWOULDBLOCK)
                        return store_fault(ret_fault, error,
                                           "cannot lock the state directory %s: %s", s->dir,
                                           strerror(-error));
                if (store_read_all(s->lock_fd, pid, sizeof(pid) - 1, &n) < 0 || n == 0)
                        strcpy(pid, "unknown"); /* fits */
                pid[strspn(pid, "0123456789unkow")] = '\0';
                return store_fault(ret_fault, error,
                                   "another linkd (pid %s) is using the state directory %s", pid,
                                   s->dir);
        }
        write_pid(s);
        return 0;
}

/* A plain file that no one else reads; a dangling link is not "no key", which would make a new one.
 * others: the bits of those. systemd may let linkd's user read a credential by an ACL, whose mask
 * shows in the group's bits. */
static int check_master(int fd, mode_t others, const char *dir, const char *name, char **ret_fault)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return store_fault(ret_fault, -errno, "cannot read the master key %s/%s: %s", dir,
                                   name, strerror(errno));
        if (!S_ISREG(st.st_mode) || st.st_mode & others)
                return store_fault(
                        ret_fault, -EPERM,
                        "the master key %s/%s must be a file that is closed to others; run: "
                        "chmod 600 %s/%s",
                        dir, name, dir, name);
        return 0;
}

static int load_master(Store *s, int dir_fd, const char *dir, const char *name, char **ret_fault)
{
        const bool ours = dir_fd == s->dir_fd; /* else systemd's, where a name may be a link */
        uint8_t extra;
        size_t n = 0, more = 0;
        int r;

        _cleanup_(store_close_fdp) int fd =
                openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (ours ? O_NOFOLLOW : 0));
        if (fd < 0)
                return -errno == -ENOENT ? -ENOENT
                                         : store_fault(ret_fault, -errno,
                                                       "cannot read the master key %s/%s: %s", dir,
                                                       name, strerror(errno));
        r = check_master(fd, ours ? 0077 : 0007, dir, name, ret_fault);
        if (r < 0)
                return r;
        s->master_from = ours ? from_file : from_credential;
        s->master = secret_new(MASTER_KEY_BYTES);
        if (!s->master)
                return -ENOMEM;
        r = store_read_all(fd, s->master->data, MASTER_KEY_BYTES, &n);
        if (r == 0)
                r = store_read_all(fd, &extra, 1, &more);
        if (r < 0)
                return store_fault(ret_fault, r, "cannot read the master key %s/%s: %s", dir, name,
                                   strerror(-r));
        if (n != MASTER_KEY_BYTES || more)
                return store_fault(ret_fault, -EBADMSG,
                                   "the master key %s/%s is not %d bytes long: put the whole one "
                                   "back from a backup",
                                   dir, name, MASTER_KEY_BYTES);
        return 0;
}

static int stop_at_record(Store *s, const char *name, void *userdata)
{
        (void)s;
        (void)userdata;
        return store_is_record_name(name);
}

/* Where there are records it is missed. make false: elsewhere it is not. */
static int make_master(Store *s, bool make, char **ret_fault)
{
        int r = store_each_entry(s, stop_at_record, NULL);

        if (r > 0)
                return store_fault(
                        ret_fault, -ENOKEY,
                        "the master key %s/%s is missing, and there is no credential %s of the "
                        "unit (LoadCredential=), but there are records sealed with it: put it "
                        "back, "
                        "or move the records away to begin anew",
                        s->dir, master_name, credential_name);
        if (r < 0)
                return store_fault(ret_fault, r, "cannot read the state directory %s: %s", s->dir,
                                   strerror(-r));
        if (!make)
                return 0;
        s->master = secret_new(MASTER_KEY_BYTES);
        if (!s->master)
                return -ENOMEM;
        randombytes_buf(s->master->data, s->master->len);
        r = store_write_atomic(s, master_name, s->master->data, s->master->len, true);
        if (r < 0)
                return store_fault(ret_fault, r, "cannot write the master key %s/%s: %s; %s",
                                   s->dir, master_name, strerror(-r), store_remedy(r));
        s->master_from = from_file;
        return 0;
}

static int take_master(Store *s, bool make, char **ret_fault)
{
        const char *dir = getenv("CREDENTIALS_DIRECTORY");
        int r = -ENOENT;

        if (dir) {
                _cleanup_(store_close_fdp) int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (fd < 0)
                        return store_fault(ret_fault, -errno, "credentials directory %s: %s", dir,
                                           strerror(errno));
                r = load_master(s, fd, dir, credential_name, ret_fault);
        }
        if (r == -ENOENT)
                r = load_master(s, s->dir_fd, s->dir, master_name, ret_fault);
        if (r == -ENOENT)
                r = make_master(s, make, ret_fault);
        return r;
}

static int sweep_temporary(Store *s, const char *name, void *userdata)
{
        (void)userdata;
        if (store_has_suffix(name, ".tmp"))
                (void)unlinkat(s->dir_fd, name, 0); /* harmless if it stays */
        return 0;
}

int store_open(Store **ret, const char *dir, char **ret_fault)
{
        _cleanup_(store_closep) Store *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->dir_fd = s->lock_fd = -1;
        s->dir = strdup(dir);
        if (!s->dir)
                return -ENOMEM;
        r = open_dir(s, ret_fault);
        if (r == 0)
                r = take_lock(s, ret_fault);
        if (r == 0)
                r = store_each_entry(s, sweep_temporary, NULL);
        if (r == 0)
                r = take_master(s, true, ret_fault);
        if (r < 0)
                return r;
        check_writable(s);
        *ret = TAKE_PTR(s);
        return 0;
}

int store_open_to_read(Store **ret, const char *dir, char **ret_fault)
{
        _cleanup_(store_closep) Store *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->lock_fd = -1;
        s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        s->dir = strdup(dir);
        if (!s->dir)
                return -ENOMEM;
        if (s->dir_fd < 0)
                return store_fault(ret_fault, -errno, "state directory %s: %s", dir,
                                   strerror(errno));
        r = check_dir(s, ret_fault);
        if (r == 0)
                r = take_master(s, false, ret_fault);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

Store *store_close(Store *s)
{
        if (!s)
                return NULL;
        secret_free(s->master);
        store_close_fdp(&s->lock_fd);
        store_close_fdp(&s->dir_fd);
        free(s->dir);
        free(s);
        return NULL;
}

const char *store_dir(const Store *s)
{
        return s->dir;
}
