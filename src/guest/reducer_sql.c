/* What little of SQL the host has to read: the first words of a statement. A statement begins behind white space,
 * comments and semicolons, as PostgreSQL's scanner skips them; a string with two statements is refused by PostgreSQL.
 */
#include "base/check.h"
#include "guest/reducer_private.h"

#define WORD_MAX 16

static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static size_t comment_end(struct bytes sql, size_t at)
{
    unsigned depth = 1;
    for (at += 2; at < sql.len && depth > 0; at++) {
        bool pair = at + 1 < sql.len;
        if (pair && sql.data[at] == '/' && sql.data[at + 1] == '*') {
            depth++;
            at++;
        } else if (pair && sql.data[at] == '*' && sql.data[at + 1] == '/') {
            depth--;
            at++;
        }
    }
    return at;
}

static size_t skip(struct bytes sql, size_t at)
{
    while (at < sql.len) {
        bool pair = at + 1 < sql.len;
        if (is_space(sql.data[at]) || sql.data[at] == ';') {
            at++;
        } else if (pair && sql.data[at] == '-' && sql.data[at + 1] == '-') {
            while (at < sql.len && sql.data[at] != '\n' && sql.data[at] != '\r')
                at++;
        } else if (pair && sql.data[at] == '/' && sql.data[at + 1] == '*') {
            at = comment_end(sql, at);
        } else {
            break;
        }
    }
    return at;
}

static bool is_letter(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80 || (c >= '0' && c <= '9') ||
           c == '$';
}

/* The word at *at, in lower case and cut, and *at behind it. */
static struct bytes word_take(struct bytes sql, size_t *at, char lower[WORD_MAX])
{
    size_t len = 0;
    for (*at = skip(sql, *at); *at < sql.len && is_letter(sql.data[*at]); (*at)++) {
        uint8_t c = sql.data[*at];
        if (len < WORD_MAX)
            lower[len++] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    return bytes_of(lower, len);
}

enum sql_kind sql_kind_of(struct bytes sql, struct bytes *out_word)
{
    static const char *const refused[] = {"begin", "start",   "commit",     "end",     "abort",
                                          "copy",  "prepare", "deallocate", "discard", "rollback"};
    char lower[WORD_MAX];
    size_t at = 0;
    struct bytes word = word_take(sql, &at, lower);
    *out_word = bytes_of(sql.data + (at - word.len), word.len);
    if (bytes_is(word, "rollback")) {
        size_t behind = at;
        word = word_take(sql, &behind, lower);
        if (bytes_is(word, "work") || bytes_is(word, "transaction"))
            word = word_take(sql, &behind, lower);
        return bytes_is(word, "to") ? SQL_RESUMES : SQL_REFUSED;
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (bytes_is(word, refused[i]))
            return SQL_REFUSED;
    return SQL_PLAIN;
}

enum sorex_status sql_copy_text(struct buf *out, struct bytes text, struct sorex_error *err)
{
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        char escape = c == '\\' ? '\\' : c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : '\0';
        if (escape == '\0')
            continue;
        TRY(buf_append(out, bytes_of(text.data + from, i - from), err));
        TRY(buf_append(out, bytes_of((const char[]){'\\', escape}, 2), err));
        from = i + 1;
    }
    return buf_append(out, bytes_of(text.data + from, text.len - from), err);
}
