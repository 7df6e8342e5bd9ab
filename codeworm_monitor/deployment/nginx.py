"""A server block of nginx: TLS, `/ws`, the page and the REST API before a relay on the same machine.

Sources: the documentation of nginx' modules http_proxy, http_rewrite and http_core; "WebSocket proxying" there.
"""

from __future__ import annotations

import re
from pathlib import Path

from codeworm_monitor.deployment.artefacts import Artefact, render
from codeworm_monitor.deployment.quoting import nginx_word, one_line, shell_word
from codeworm_monitor.errors import SettingError

__all__ = ["SITE", "site", "site_steps"]

SITE = "codeworm-monitor.conf"
_ACCESS = """\
        # The front end presents no token: who it is, is asked here, and the token is put in.
        auth_basic "CodeWorm";
        auth_basic_user_file /etc/nginx/codeworm-monitor.htpasswd;
        set $codeworm_authorization "Bearer $codeworm_token";"""
_TOKEN = """\
# map "" $codeworm_token { default "the token"; }
include /etc/nginx/codeworm-monitor-token;
"""
_PAGE = """\
    location = / {
        proxy_pass http://codeworm_relay;
    }
    location / {
        return 404;
    }"""


def site(
    *,
    domain: str,
    port: int = 8765,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    static: str | None = None,
) -> Artefact:
    """Return the configuration.

    Args:
        domain: Name of the server, without a port.
        port: Port of the relay, on the same machine.
        tls_cert: File with the certificate and those that vouch for it; None: where certbot keeps it.
        tls_key: File with its private key; None: likewise.
        static: Directory of a built front end, which is served after a password was asked; None: there is none.

    Raises:
        SettingError: A value cannot stand in it.
    """
    label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    if len(domain) > 253 or not re.fullmatch(rf"{label}(\.{label})*", domain):
        raise SettingError("domain", "name the server as certificates do, such as ollama.example.org, without a port")
    domain = domain.lower()
    paths = {
        "tls_cert": tls_cert or f"/etc/letsencrypt/live/{domain}/fullchain.pem",
        "tls_key": tls_key or f"/etc/letsencrypt/live/{domain}/privkey.pem",
    }
    if static is not None:
        paths["static"] = static
    words = {}
    for name, path in paths.items():
        if not Path(one_line(name, path)).is_absolute():
            raise SettingError(name, "name it by its absolute path")
        words[name] = nginx_word(name, path)
    text = render(
        "nginx.conf",
        domain=domain,
        port=str(port),
        tls_cert=words["tls_cert"],
        tls_key=words["tls_key"],
        token=_TOKEN if static is not None else "",
        front_end_access=_ACCESS if static is not None else "",
        rest=_PAGE if static is None else render("nginx-front-end.conf", static=words["static"]).removesuffix("\n"),
    )
    return Artefact(name=SITE, text=text)


def site_steps(directory: Path | None, domain: str, *, has_front_end: bool) -> str:
    """Return what to do next, a line a step."""
    file = SITE if directory is None else shell_word(str(directory / SITE))
    lines = [] if directory is not None else [f"# keep what was printed as {SITE}, then:"]
    lines.append(f"# the relay: CODEWORM_MONITOR_ALLOWED_HOST={domain} in its environment, or --allowed-host {domain}")
    if has_front_end:
        lines += [
            'sudo sh -c \'umask 077; . /etc/codeworm-monitor/environment; printf "map \\"\\" \\$codeworm_token '
            '{ default \\"%s\\"; }\\n" "$CODEWORM_MONITOR_TOKEN" > /etc/nginx/codeworm-monitor-token\'',
            'sudo sh -c \'umask 027; printf "worm:%s\\n" "$(openssl passwd -6)" '
            "> /etc/nginx/codeworm-monitor.htpasswd; chgrp www-data /etc/nginx/codeworm-monitor.htpasswd'"
            "    # asks for a password; the name is worm",
        ]
    lines += [
        f"sudo certbot certonly --standalone -d {domain}    # the first certificate, while nothing has port 80",
        f"sudo install -D -m 644 {file} /etc/nginx/conf.d/{SITE}",
        "sudo nginx -t && sudo systemctl reload nginx",
        f"curl -fsS https://{domain}/readyz",
        f"# a browser: https://{domain}/{'dashboard' if has_front_end else ''}#token=…",
        f'# notebooks: connect("wss://{domain}/ws", token=…)',
    ]
    return "\n".join(lines)
