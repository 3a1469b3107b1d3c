#!/usr/bin/env python3
"""embed.py OUTPUT.c FILE.sql... : the SQL files as C strings, for lib/schema/schema.h."""
import hashlib
import os
import sys

output, inputs = sys.argv[1], sys.argv[2:]
checksum = hashlib.md5()
rows = []
for path in inputs:
    name = os.path.basename(path)
    text = open(path, encoding='utf-8').read().replace('…', '...').encode()
    if not text.isascii():  # what a database can't write in its encoding can't be installed there
        sys.exit(f'{name}: not ASCII')
    checksum.update(text)
    number = int(name.split('_')[0]) if name[0].isdigit() else 0
    data = ','.join(str(byte) for byte in text + b'\0')
    rows.append((name, number, data))
with open(output, 'w') as out:
    out.write('#include "schema/schema.h"\n\n')
    for i, (_, _, data) in enumerate(rows):
        out.write(f'static const char file_{i}[] = {{{data}}};\n')
    out.write('\nconst struct schema_file schema_files[] = {\n')
    for i, (name, number, _) in enumerate(rows):
        out.write(f'    {{"{name}", {number}, file_{i}}},\n')
    out.write(f'}};\nconst int schema_n_files = {len(rows)};\n')
    out.write(f'const int schema_version = {max(number for _, number, _ in rows)};\n')
    out.write(f'const char schema_checksum[] = "{checksum.hexdigest()}";\n')
