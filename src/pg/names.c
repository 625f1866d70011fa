#include "pg/names.h"

#include <stdlib.h>

#include "base/check.h"

/* FNV-1a. */
static uint32_t hash_of(struct bytes name)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < name.len; i++)
        hash = (hash ^ name.data[i]) * 16777619u;
    return hash;
}

void names_deinit(struct names *names)
{
    free(names->items);
    free(names->text);
    *names = (struct names){0};
}

struct bytes name_text(const struct names *names, const struct name *name)
{
    return bytes_of(names->text + name->at + 1, names->text[name->at]);
}

static bool room(struct names *names, uint32_t text)
{
    if (names->count == names->cap) {
        uint32_t cap = names->cap == 0 ? 8 : names->cap * 2;
        struct name *items = realloc(names->items, cap * sizeof *items);
        if (items == NULL)
            return false;
        names->items = items;
        names->cap = cap;
    }
    if (names->text_cap - names->text_len < text) {
        uint32_t cap = names->text_cap * 2 + text;
        uint8_t *bytes = realloc(names->text, cap);
        if (bytes == NULL)
            return false;
        names->text = bytes;
        names->text_cap = cap;
    }
    return true;
}

static bool append(struct names *names, struct bytes name, uint32_t inode, uint32_t number, uint32_t hash)
{
    CHECK(name.len > 0 && name.len <= NAME_BYTES_MAX);
    if (!room(names, (uint32_t)name.len + 2))
        return false;
    uint8_t *text = names->text + names->text_len;
    text[0] = (uint8_t)name.len;
    memcpy(text + 1, name.data, name.len);
    text[1 + name.len] = 0;
    names->items[names->count++] = (struct name){number, inode, hash, names->text_len};
    names->text_len += (uint32_t)name.len + 2;
    names->live++;
    return true;
}

bool names_copy(struct names *out, const struct names *names)
{
    struct names copy = {.numbers = names->numbers};
    for (uint32_t i = 0; i < names->count; i++) {
        const struct name *name = &names->items[i];
        if (name->inode != 0 && !append(&copy, name_text(names, name), name->inode, name->number, name->hash)) {
            names_deinit(&copy);
            return false;
        }
    }
    *out = copy;
    return true;
}

const struct name *names_find(const struct names *names, struct bytes name)
{
    uint32_t hash = hash_of(name);
    for (uint32_t i = 0; i < names->count; i++) {
        const struct name *item = &names->items[i];
        if (item->hash == hash && item->inode != 0 && bytes_equal(name_text(names, item), name))
            return item;
    }
    return NULL;
}

const struct name *names_next(const struct names *names, uint32_t number)
{
    uint32_t low = 0, high = names->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (names->items[middle].number <= number)
            low = middle + 1;
        else
            high = middle;
    }
    while (low < names->count && names->items[low].inode == 0)
        low++;
    return low < names->count ? &names->items[low] : NULL;
}

bool names_add(struct names *names, struct bytes name, uint32_t inode)
{
    if (names->count > 16 && names->count > 2 * names->live) { /* mostly removed ones */
        struct names copy;
        if (!names_copy(&copy, names))
            return false;
        names_deinit(names);
        *names = copy;
    }
    if (!append(names, name, inode, names->numbers + 1, hash_of(name)))
        return false;
    names->numbers++;
    return true;
}

bool names_put(struct names *names, struct bytes name, uint32_t inode, uint32_t number)
{
    return append(names, name, inode, number, hash_of(name));
}

void names_remove(struct names *names, const struct name *name)
{
    names->items[name - names->items].inode = 0;
    names->live--;
}
