"""Looks up known vulnerabilities of the pinned packages with pip-audit; exit status 1 if there are any.

A service that cannot be reached, or does not know a package, is reported but does not fail the audit.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINS = "requirements/test.txt"
COMMAND = ("pip_audit", "--requirement", PINS, "--no-deps", "--disable-pip", "--format=json")


def main() -> None:
    """Prints the service's answer; exits with status 1 if it knows a vulnerability."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", *COMMAND, "--progress-spinner=off"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        print("audit: not done, the service did not answer within five minutes")
        return
    except ValueError:
        reason = (done.stderr.strip() or "no answer").splitlines()[-1]
        print(f"audit: not done, the service gave no list: {reason}")
        return
    known = [each for each in packages if "skip_reason" not in each]
    print(f"audit: {len(known)} of {len(packages)} pinned packages are known to the service")
    vulnerable = [each for each in known if each["vulns"]]
    for each in vulnerable:
        for found in each["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version"
            print(f"audit: {each['name']} {each['version']}: {found['id']}, fixed in {fixed}")
    sys.exit(1 if vulnerable else 0)


if __name__ == "__main__":
    main()
