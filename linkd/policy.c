#include "policy.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum { GROUPS_START = 64 };

/* ---- callers ---- */

/* Appended to groups, of which there is one. The kernel bounds them. */
static int read_groups(Caller *c, int fd)
{
        socklen_t len = GROUPS_START * sizeof(gid_t);

        for (;;) {
                gid_t *more = realloc(c->groups, len + sizeof(gid_t));

                if (!more)
                        return -ENOMEM;
                c->groups = more;
                if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, c->groups + 1, &len) == 0)
                        break;
                if (errno != ERANGE) /* else len says how much there is */
                        return -errno;
        }
        c->n_groups += len / sizeof(gid_t);
        return 0;
}

int caller_of_socket(Caller *ret, int fd)
{
        struct ucred peer;
        socklen_t len = sizeof(peer);
        Caller c = {};
        int r;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
                return -errno;
        c.uid = peer.uid;
        c.groups = malloc(sizeof(gid_t));
        if (!c.groups)
                return -ENOMEM;
        c.groups[0] = peer.gid;
        c.n_groups = 1;
        r = read_groups(&c, fd);
        if (r < 0) {
                caller_done(&c);
                return r;
        }
        *ret = c;
        return 0;
}

void caller_done(Caller *c)
{
        free(c->groups);
        *c = (Caller){};
}

bool caller_is_owner(const Caller *c)
{
        return c->uid == 0 || c->uid == geteuid();
}

static bool is_in_group(const Caller *c, gid_t gid)
{
        for (size_t i = 0; i < c->n_groups; i++)
                if (c->groups[i] == gid)
                        return true;
        return false;
}

/* ---- lists ---- */

static bool names(const AccessList *list, const Caller *c)
{
        for (size_t i = 0; i < list->n_uids; i++)
                if (list->uids[i] == c->uid)
                        return true;
        for (size_t i = 0; i < list->n_gids; i++)
                if (is_in_group(c, list->gids[i]))
                        return true;
        return false;
}

static bool names_any(const AccessOf *lists, const Caller *c)
{
        for (; lists; lists = lists->next)
                if (names(&lists->list, c))
                        return true;
        return false;
}

/* A list that is given decides, else the socket's group. */
static bool names_or_group(const AccessList *list, gid_t socket_group, const Caller *c)
{
        return list->given ? names(list, c) : is_in_group(c, socket_group);
}

static bool administers(const AccessRules *rules, const Caller *c)
{
        return caller_is_owner(c) || names(&rules->administer, c);
}

unsigned policy_levels(const AccessRules *rules, gid_t socket_group, const Caller *c)
{
        unsigned levels = ACCESS_NONE;

        if (administers(rules, c))
                return ACCESS_READ | ACCESS_USE | ACCESS_SERVE | ACCESS_ADMINISTER;
        if (names_or_group(&rules->use, socket_group, c) || names_any(rules->peers, c))
                levels |= ACCESS_USE;
        if (names(&rules->serve, c) || names_any(rules->hosts, c))
                levels |= ACCESS_SERVE;
        if (levels || names_or_group(&rules->read, socket_group, c))
                levels |= ACCESS_READ;
        return levels;
}

bool policy_may_use(const AccessRules *rules, gid_t socket_group, const Caller *c, const char *peer)
{
        const AccessList *own = access_find(rules->peers, peer);

        return administers(rules, c) ||
               (own ? names(own, c) : names_or_group(&rules->use, socket_group, c));
}

bool policy_may_serve(const AccessRules *rules, const Caller *c, const char *host)
{
        const AccessList *own = access_find(rules->hosts, host);

        return administers(rules, c) || names(own ? own : &rules->serve, c);
}
