#include "cli/script.h"

#include "base/check.h"

void script_init(struct script *script) { *script = (struct script){0}; }

void script_deinit(struct script *script) { buf_deinit(&script->statement); }

void script_reset(struct script *script)
{
    struct buf statement = script->statement;
    buf_reset(&statement);
    *script = (struct script){.statement = statement};
}

/* ---- characters ---- */

static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c; }

static bool begins_word(uint8_t c) { return (lower(c) >= 'a' && lower(c) <= 'z') || c == '_' || c >= 0x80; }

static bool in_word(uint8_t c) { return begins_word(c) || is_digit(c) || c == '$'; }

static uint8_t at(struct bytes text, size_t i) { return i < text.len ? text.data[i] : 0; }

static bool word_is(struct bytes word, const char *text)
{
    size_t i = 0;
    while (i < word.len && text[i] != '\0' && lower(word.data[i]) == (uint8_t)text[i])
        i++;
    return i == word.len && text[i] == '\0';
}

/* ---- words: where a function has a body of statements ---- */

/* COPY ... FROM STDIN: three words. */
static void copy_note(struct script *s, struct bytes word)
{
    if (s->words_count == 0 && word_is(word, "copy"))
        s->copy = SCRIPT_COPY;
    else if (s->copy == SCRIPT_COPY && s->parentheses == 0 && word_is(word, "from"))
        s->copy = SCRIPT_COPY_FROM;
    else if (s->copy == SCRIPT_COPY_FROM)
        s->copy = word_is(word, "stdin") ? SCRIPT_COPY_STDIN : SCRIPT_COPY_NO;
}

static void word_note(struct script *s, struct bytes word)
{
    static const char *const known[] = {"create", "function", "procedure", "or", "replace"};
    const char *w = s->words;
    copy_note(s, word);
    if (s->words_count < sizeof s->words) {
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (word_is(word, known[i]))
                s->words[s->words_count] = known[i][0];
        s->words_count++;
    }
    bool routine =
        w[0] == 'c' && (w[1] == 'f' || w[1] == 'p' || (w[1] == 'o' && w[2] == 'r' && (w[3] == 'f' || w[3] == 'p')));
    if (!routine || s->parentheses > 0)
        return;
    if (word_is(word, "begin") || (s->blocks > 0 && word_is(word, "case")))
        s->blocks++;
    else if (s->blocks > 0 && word_is(word, "end"))
        s->blocks--;
}

/* ---- quotes ---- */

/* The length of "$tag$" at the beginning of text; 0: it is none. */
static size_t tag_len(struct bytes text)
{
    size_t i = 1;
    if (at(text, i) != '$' && !begins_word(at(text, i)))
        return 0;
    while (at(text, i) != '$' && in_word(at(text, i)))
        i++;
    return at(text, i) == '$' && i + 1 < SCRIPT_TAG_SIZE ? i + 1 : 0;
}

/* How much of text, which begins inside of a quote or comment, is left of it; closes it where it ends. */
static size_t quoted(struct script *s, struct bytes text)
{
    size_t i = 0, tag = strlen(s->tag);
    while (i < text.len) {
        uint8_t c = text.data[i];
        if (s->quote == '*') {
            bool opens = c == '/' && at(text, i + 1) == '*', closes = c == '*' && at(text, i + 1) == '/';
            i += opens || closes ? 2 : 1;
            s->comments += opens;
            if (closes && --s->comments == 0) {
                s->quote = 0;
                return i;
            }
        } else if (s->quote == '$') {
            if (c == '$' && text.len - i >= tag && memcmp(text.data + i, s->tag, tag) == 0) {
                s->quote = 0;
                return i + tag;
            }
            i++;
        } else if (c == (uint8_t)s->quote) { /* doubled, it closes and opens again */
            s->quote = 0;
            return i + 1;
        } else
            i += s->escapes && c == '\\' && i + 1 < text.len ? 2 : 1;
    }
    return text.len;
}

/* ---- everything else ---- */

static size_t word_len(struct bytes text)
{
    size_t i = 0;
    while (i < text.len && in_word(text.data[i]))
        i++;
    return i;
}

/* Opens what begins at text, if anything does; the length of what opens it. */
static size_t opening(struct script *s, struct bytes text)
{
    uint8_t c = text.data[0];
    size_t tag;
    if (c == '\'' || c == '"') {
        s->quote = (char)c;
        s->escapes = false;
        return 1;
    }
    if (lower(c) == 'e' && at(text, 1) == '\'') {
        s->quote = '\'';
        s->escapes = true;
        return 2;
    }
    if (c == '/' && at(text, 1) == '*') {
        s->quote = '*';
        s->comments = 1;
        return 2;
    }
    if (c == '$' && (tag = tag_len(text)) > 0) {
        s->quote = '$';
        memcpy(s->tag, text.data, tag);
        s->tag[tag] = '\0';
        return tag;
    }
    return 0;
}

/* Something outside of quotes: its length. */
static size_t plain(struct script *s, struct bytes text)
{
    uint8_t c = text.data[0];
    size_t len = opening(s, text);
    if (len > 0)
        return len;
    if (c == '-' && at(text, 1) == '-')
        return text.len;
    if (begins_word(c)) {
        len = word_len(text);
        word_note(s, bytes_of(text.data, len));
        return len;
    }
    if (is_digit(c))
        return word_len(text);
    s->parentheses += c == '(';
    s->parentheses -= c == ')' && s->parentheses > 0;
    return 1;
}

static enum sorex_status take(struct script *s, struct bytes *line, size_t len, struct sorex_error *err)
{
    TRY(buf_append(&s->statement, bytes_of(line->data, len), err));
    *line = bytes_of(line->data + len, line->len - len);
    return SOREX_OK;
}

enum sorex_status script_step(struct script *s, struct bytes *line, enum script_step *out, struct sorex_error *err)
{
    while (line->len > 0) {
        uint8_t c = line->data[0];
        if (s->quote != 0) {
            TRY(take(s, line, quoted(s, *line), err));
        } else if (is_space(c) && s->statement.len == 0) {
            *line = bytes_of(line->data + 1, line->len - 1);
        } else if (c == '\\') {
            *line = bytes_of(line->data + 1, line->len - 1);
            *out = SCRIPT_COMMAND;
            return SOREX_OK;
        } else if (c == ';' && s->parentheses == 0 && s->blocks == 0) {
            TRY(take(s, line, 1, err));
            *out = SCRIPT_STATEMENT;
            return SOREX_OK;
        } else
            TRY(take(s, line, plain(s, *line), err));
    }
    *out = SCRIPT_LINE_END;
    return s->statement.len > 0 ? buf_append_u8(&s->statement, '\n', err) : SOREX_OK;
}

bool script_begun(const struct script *s)
{
    struct script scan = {0};
    struct bytes text = buf_view(&s->statement);
    while (text.len > 0) {
        uint8_t c = text.data[0];
        size_t len = 1;
        if (scan.quote != 0)
            len = quoted(&scan, text);
        else if (c == '-' && at(text, 1) == '-') {
            const uint8_t *end = memchr(text.data, '\n', text.len);
            len = end != NULL ? (size_t)(end - text.data) : text.len;
        } else if (c == '/' && at(text, 1) == '*')
            len = opening(&scan, text);
        else if (!is_space(c))
            return true;
        text = bytes_of(text.data + len, text.len - len);
    }
    return false;
}

char script_place(const struct script *s)
{
    if (s->quote != 0)
        return s->quote;
    if (s->parentheses > 0)
        return '(';
    return s->statement.len > 0 ? '-' : '=';
}
