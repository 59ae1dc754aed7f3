"""A certificate authority for tests, in a directory."""
import pathlib
import subprocess
import time


def openssl(*words, **options):
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, **options).stdout


class Authority:
    """Signs certificates that began a day ago, so that a clock that is behind takes them, too. Its own is ca.crt."""

    def __init__(self, directory, subject):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "index.txt").touch()
        (self.directory / "ca.conf").write_text(
            f"[ca]\ndefault_ca = me\n[me]\ndatabase = {self.directory}/index.txt\nnew_certs_dir = {self.directory}\n"
            "default_md = sha256\ndefault_days = 30\nunique_subject = no\nrand_serial = yes\npolicy = any\nemail_in_dn = no\n"
            "[any]\norganizationName = optional\ncommonName = optional\n")
        self.sign("ca", subject, "basicConstraints=critical,CA:true\nsubjectKeyIdentifier=hash", "-selfsign")

    def sign(self, name, subject, extensions, *options):
        """NAME.crt and NAME.key; their paths."""
        key, request, certificate = (self.directory / f"{name}.{ending}" for ending in ("key", "csr", "crt"))
        (self.directory / f"{name}.ext").write_text(extensions)
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
                "-subj", subject)
        a_day_ago = time.strftime("%y%m%d%H%M%SZ", time.gmtime(time.time() - 86400))
        openssl("ca", "-batch", "-notext", "-config", self.directory / "ca.conf", "-startdate", a_day_ago,
                "-cert", self.directory / "ca.crt", "-keyfile", self.directory / "ca.key", "-in", request, "-out", certificate,
                "-extfile", self.directory / f"{name}.ext", *options)
        return str(certificate), str(key)
