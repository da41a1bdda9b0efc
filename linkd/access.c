#include "access.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>

#include "limits.h"

static const char must_be_names[] = "an array of \"USER\" and \"@GROUP\": [ \"alice\", \"@ops\" ]";

/* All digits, and no more than an id holds (the last is the kernel's word for none). */
static bool parse_id(const char *text, uint32_t *ret)
{
        uint64_t v = 0;

        if (!*text)
                return false;
        for (; *text; text++) {
                if (*text < '0' || *text > '9')
                        return false;
                v = v * 10 + (uint64_t)(*text - '0');
                if (v >= UINT32_MAX)
                        return false;
        }
        *ret = (uint32_t)v;
        return true;
}

static int parse_uid(const char *text, uid_t *ret)
{
        const struct passwd *user;

        if (parse_id(text, ret))
                return 0;
        user = getpwnam(text);
        if (!user)
                return -EINVAL;
        *ret = user->pw_uid;
        return 0;
}

int access_parse_gid(const char *text, gid_t *ret)
{
        const struct group *group;

        if (parse_id(text, ret))
                return 0;
        group = getgrnam(text);
        if (!group)
                return -EINVAL;
        *ret = group->gr_gid;
        return 0;
}

static int add_name(AccessList *list, const ConfSource *src, const config_setting_t *s,
                    const char *name)
{
        if (name[0] == '@') {
                if (access_parse_gid(name + 1, &list->gids[list->n_gids]) < 0)
                        return conf_fault(src, s, name, "@ and a group that exists");
                list->n_gids++;
        } else {
                if (parse_uid(name, &list->uids[list->n_uids]) < 0)
                        return conf_fault(src, s, name, "a user that exists, or @ and a group");
                list->n_uids++;
        }
        return 0;
}

static int take_list(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        AccessList *list = userdata;
        int n = config_setting_is_array(s) || config_setting_is_list(s) ? config_setting_length(s)
                                                                        : -1;
        int r = 0;

        if (n < 0)
                return conf_fault(src, s, NULL, must_be_names);
        if (n > ACCESS_NAMES_MAX)
                return conf_fault(src, s, NULL, "shorter: 256 names at most, use groups");
        list->given = true;
        list->uids = calloc((size_t)n + 1, sizeof(*list->uids));
        list->gids = calloc((size_t)n + 1, sizeof(*list->gids));
        if (!list->uids || !list->gids)
                return conf_fail(src->ret_fault, -ENOMEM, "out of memory");
        for (int i = 0; r == 0 && i < n; i++) {
                const char *name = config_setting_get_string_elem(s, i);

                r = name ? add_name(list, src, s, name) : conf_fault(src, s, NULL, must_be_names);
        }
        return r;
}

/* ---- the lists of single hosts and peers ---- */

static int take_name(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        AccessOf *of = userdata;

        return conf_string_dup(src, s, &of->name);
}

static int take_list_of(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        AccessOf *of = userdata;

        return take_list(&of->list, src, s);
}

static void access_of_free(AccessOf *of)
{
        free(of->name);
        free(of->list.uids);
        free(of->list.gids);
        free(of);
}

static int take_one(AccessOf **lists, const ConfSource *src, const config_setting_t *s,
                    const ConfKey *keys, const char *must)
{
        AccessOf *of = calloc(1, sizeof(*of));
        int r;

        if (!of)
                return conf_fail(src->ret_fault, -ENOMEM, "out of memory");
        r = config_setting_is_group(s) ? conf_take_group(src, s, keys, of)
                                       : conf_fault(src, s, NULL, must);
        if (r == 0 && (!of->name || !of->list.given))
                r = conf_fault(src, s, NULL, must);
        if (r == 0 && access_find(*lists, of->name))
                r = conf_fault(src, s, of->name, "there once: give it one list");
        if (r < 0) {
                access_of_free(of);
                return r;
        }
        of->next = *lists;
        *lists = of;
        return 0;
}

static int take_lists(AccessOf **lists, const ConfSource *src, const config_setting_t *s,
                      const ConfKey *keys, int max, const char *must)
{
        int r = config_setting_is_list(s) ? 0 : conf_fault(src, s, NULL, must);

        if (r == 0 && config_setting_length(s) > max)
                r = conf_fault(src, s, NULL, "shorter: there cannot be so many");
        for (int i = 0; r == 0 && i < config_setting_length(s); i++)
                r = take_one(lists, src, config_setting_get_elem(s, (unsigned)i), keys, must);
        return r;
}

static int take_hosts(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        static const ConfKey keys[] = {{"name", take_name}, {"serve", take_list_of}, {}};
        AccessRules *a = userdata;

        return take_lists(&a->hosts, src, s, keys, HOSTS_MAX,
                          "a list ( { name = \"HOST\"; serve = [ ... ]; }, ... )");
}

static int take_peers(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        static const ConfKey keys[] = {{"name", take_name}, {"use", take_list_of}, {}};
        AccessRules *a = userdata;

        return take_lists(&a->peers, src, s, keys, PEERS_MAX,
                          "a list ( { name = \"PEER\"; use = [ ... ]; }, ... )");
}

/* ---- all of it ---- */

static int take_read(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        return take_list(&((AccessRules *)userdata)->read, src, s);
}

static int take_use(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        return take_list(&((AccessRules *)userdata)->use, src, s);
}

static int take_serve(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        return take_list(&((AccessRules *)userdata)->serve, src, s);
}

static int take_administer(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        return take_list(&((AccessRules *)userdata)->administer, src, s);
}

int access_take(AccessRules *a, const ConfSource *src, const config_setting_t *s)
{
        static const ConfKey keys[] = {
                {"read", take_read},
                {"use", take_use},
                {"serve", take_serve},
                {"administer", take_administer},
                {"hosts", take_hosts},
                {"peers", take_peers},
                {},
        };

        return conf_take_group(src, s, keys, a);
}

static void free_lists(AccessOf *lists)
{
        while (lists) {
                AccessOf *next = lists->next;

                access_of_free(lists);
                lists = next;
        }
}

void access_done(AccessRules *a)
{
        AccessList *general[] = {&a->read, &a->use, &a->serve, &a->administer};

        for (size_t i = 0; i < ELEMENTSOF(general); i++) {
                free(general[i]->uids);
                free(general[i]->gids);
        }
        free_lists(a->hosts);
        free_lists(a->peers);
        *a = (AccessRules){};
}

const AccessList *access_find(const AccessOf *lists, const char *name)
{
        while (lists && strcmp(lists->name, name) != 0)
                lists = lists->next;
        return lists ? &lists->list : NULL;
}
