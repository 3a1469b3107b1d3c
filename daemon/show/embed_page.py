#!/usr/bin/env python3
"""embed_page.py OUTPUT.c PAGE.html : the page as a C array, and a policy with the hash of its script and its style."""
import base64
import hashlib
import re
import sys

output, source = sys.argv[1:]
text = open(source, 'rb').read()


def hashes(tag):
    """What stands in each element of that name, as a source of a Content-Security-Policy."""
    found = re.findall(rb'<%b>(.*?)</%b>' % (tag, tag), text, re.S)
    if not found:
        sys.exit(f'{source}: there is no <{tag.decode()}> in it')
    return ' '.join(f"'sha256-{base64.b64encode(hashlib.sha256(body).digest()).decode()}'" for body in found)


policy = '; '.join([
    "default-src 'none'", f"script-src {hashes(b'script')}", f"style-src {hashes(b'style')}", "connect-src 'self'",
    'img-src data:', "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"])
with open(output, 'w') as out:
    out.write('#include "show/page.h"\n\n')
    out.write(f"const char page[] = {{{','.join(str(byte) for byte in text)}}};\n")
    out.write('const size_t page_size = sizeof(page);\n')
    out.write(f'const char page_headers[] = "Content-Security-Policy: {policy}\\r\\n";\n')
