/* The scripts for bash and zsh. Both use one function, which walks the words up to the cursor as
 * options.c would and says what is due there: verbs, the value of an option, or an argument. */
#include <stdio.h>

#include "completion.h"

/* A case arm that sets the option whose value is the next word. */
static void print_valued_options(void)
{
        fputs("                *:--socket", stdout);
        for (const Verb *const *v = verbs; *v; v++)
                for (const VerbOption *o = (*v)->options; o->name; o++)
                        if (o->value)
                                printf(" | \\\n                        '%s:--%s'", (*v)->name,
                                       o->name);
        fputs(") option=$word ;;\n", stdout);
}

static void print_groups(void)
{
        const char *before = "                ";

        for (const Verb *const *v = verbs; *v; v++) {
                if (!verb_is_first_of_group(v))
                        continue;
                printf("%s:%.*s", before, verb_group_length(*v), (*v)->name);
                before = " | ";
        }
        puts(") verb=\"$word \" ;;");
}

static void print_walk(void)
{
        fputs("_linkctl_due()\n"
              "{\n"
              "        verb= option= arg=0 due= offer= agent=()\n"
              "        local word\n"
              "        for word in \"$@\"; do\n"
              "                if [ -n \"$option\" ]; then\n"
              "                        [ \"$option\" = --socket ] && agent+=(\"$option\" "
              "\"$word\")\n"
              "                        option=\n"
              "                        continue\n"
              "                fi\n"
              "                case \"$verb:$word\" in\n",
              stdout);
        print_valued_options();
        fputs("                *:--user | *:--system) agent+=(\"$word\") ;;\n"
              "                *:-*) ;;\n",
              stdout);
        print_groups();
        fputs("                :*) verb=$word ;;\n"
              "                *\\ :*) verb+=$word ;;\n"
              "                *) arg=$((arg + 1)) ;;\n"
              "                esac\n"
              "        done\n",
              stdout);
}

static void print_kind(const char *verb, const char *where, Kind kind)
{
        printf("        '%s:%s') due=%s ;;\n", verb, where, verb_kind_name(kind));
}

static void print_kinds(const Verb *v)
{
        char where[32];

        for (const VerbOption *o = v->options; o->name; o++) {
                (void)snprintf(where, sizeof(where), "--%s",
                               o->name); /* the table's own: it fits */
                if (o->value)
                        print_kind(v->name, where, o->kind);
        }
        for (const VerbArg *a = v->args; a->name; a++) {
                (void)snprintf(where, sizeof(where), "%zu", (size_t)(a - v->args)); /* as above */
                print_kind(v->name, where, a->kind);
        }
}

static void print_option_names(const VerbOption *options)
{
        for (const VerbOption *o = options; o->name; o++)
                printf(" --%s", o->name);
}

static void print_first_words(void)
{
        fputs("        '') offer='", stdout);
        for (const Verb *const *v = verbs; *v; v++) {
                if ((*v)->hidden)
                        continue;
                if (!verb_group_length(*v))
                        printf("%s ", (*v)->name);
                else if (verb_is_first_of_group(v))
                        printf("%.*s ", verb_group_length(*v), (*v)->name);
        }
        puts("' ;;");
}

static void print_second_words(const Verb *const *at)
{
        int n = verb_group_length(*at);

        printf("        '%.*s ') offer='", n, (*at)->name);
        for (const Verb *const *v = at; *v; v++)
                if (strncmp((*v)->name, (*at)->name, (size_t)n + 1) == 0)
                        printf("%s ", (*v)->name + n + 1);
        puts("' ;;");
}

/* What is due, and the verbs and options that can stand there. */
static void print_tables(void)
{
        fputs("        case \"$verb:${option:-$arg}\" in\n        *:--socket) due=file ;;\n",
              stdout);
        for (const Verb *const *v = verbs; *v; v++)
                if (!(*v)->hidden)
                        print_kinds(*v);
        fputs("        esac\n        case \"$verb\" in\n", stdout);
        print_first_words();
        for (const Verb *const *v = verbs; *v; v++)
                if (verb_is_first_of_group(v))
                        print_second_words(v);
        fputs("        esac\n        flags='", stdout);
        print_option_names(verb_global_options);
        fputs("'\n        case \"$verb\" in\n", stdout);
        for (const Verb *const *v = verbs; *v; v++) {
                if (!(*v)->options[0].name)
                        continue;
                printf("        '%s') flags+='", (*v)->name);
                print_option_names((*v)->options);
                puts("' ;;");
        }
        fputs("        esac\n}\n\n", stdout);
}

/* bash cuts words at : and =, which URLs and links hold: they are joined again, and what stands
 * before the last one is left out of the candidates. */
static const char bash_rest[] =
        "_linkctl()\n"
        "{\n"
        "        local verb option arg due offer flags agent words=() glue= word cur prefix\n"
        "        for word in \"${COMP_WORDS[@]:1:COMP_CWORD}\"; do\n"
        "                if [[ ( $glue || $word == [:=]* ) && ${#words[@]} -gt 0 ]]; then\n"
        "                        words[${#words[@]} - 1]+=$word\n"
        "                else\n"
        "                        words+=(\"$word\")\n"
        "                fi\n"
        "                glue=\n"
        "                [[ $word == *[:=] ]] && glue=1\n"
        "        done\n"
        "        cur=${words[${#words[@]} - 1]}\n"
        "        prefix=${cur%\"${cur##*[:=]}\"}\n"
        "        _linkctl_due \"${words[@]:0:${#words[@]} - 1}\"\n"
        "        COMPREPLY=()\n"
        "        if [[ $cur == -* && ! $option ]]; then\n"
        "                COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\"))\n"
        "                return\n"
        "        fi\n"
        "        case $due in\n"
        "        '') COMPREPLY=($(compgen -W \"$offer\" -- \"$cur\")) ;;\n"
        "        text) ;;\n"
        "        file)\n"
        "                compopt -o filenames\n"
        "                mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
        "                ;;\n"
        "        command) mapfile -t COMPREPLY < <(compgen -c -- \"$cur\") ;;\n"
        "        *)\n"
        "                while IFS= read -r word; do\n"
        "                        [[ $word == \"$cur\"* ]] || continue\n"
        "                        printf -v word %q \"${word#\"$prefix\"}\"\n"
        "                        COMPREPLY+=(\"$word\")\n"
        "                done < <(linkctl \"${agent[@]}\" __names \"$due\" 2>/dev/null)\n"
        "                ;;\n"
        "        esac\n"
        "}\n"
        "complete -F _linkctl linkctl\n";

static const char zsh_rest[] =
        "_linkctl()\n"
        "{\n"
        "        local verb option arg due offer flags cur=${words[CURRENT]}\n"
        "        local -a agent names\n"
        "        _linkctl_due \"${(@)words[2,CURRENT-1]}\"\n"
        "        if [[ $cur == -* && -z $option ]]; then\n"
        "                compadd -- ${=flags}\n"
        "                return\n"
        "        fi\n"
        "        case $due in\n"
        "        '') compadd -- ${=offer} ;;\n"
        "        text) ;;\n"
        "        file) _files ;;\n"
        "        command) _command_names ;;\n"
        "        *)\n"
        "                names=(${(f)\"$(linkctl $agent __names $due 2>/dev/null)\"})\n"
        "                compadd -a names\n"
        "                ;;\n"
        "        esac\n"
        "}\n"
        "# as a file of $fpath it is run at the first completion; else it was sourced\n"
        "if [[ ${funcstack[1]} == _linkctl ]]; then\n"
        "        _linkctl\n"
        "else\n"
        "        compdef _linkctl linkctl\n"
        "fi\n";

void completion_print_bash(void)
{
        fputs("# bash completion of linkctl, made by `linkctl completion bash`\n", stdout);
        print_walk();
        print_tables();
        fputs(bash_rest, stdout);
}

void completion_print_zsh(void)
{
        fputs("#compdef linkctl\n# zsh completion of linkctl, made by `linkctl completion zsh`\n",
              stdout);
        print_walk();
        print_tables();
        fputs(zsh_rest, stdout);
}
