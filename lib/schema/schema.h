/* The control schema's SQL, embedded in the program. */
#pragma once

struct schema_file {
    const char *name;
    int version; /* 001_... is 1: it runs once, when the installed version is below; 0: runs at every --install */
    const char *sql;
};

extern const struct schema_file schema_files[];
extern const int schema_n_files;
extern const int schema_version;     /* the highest */
extern const char schema_checksum[]; /* of all the files */
