// Makes the recordings before the tests: runs of the Python side, from recorded streams where they are present.
import { execFileSync } from "node:child_process";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..", "..");
const PYTHON = join(ROOT, ".venv", "bin", "python");

export default function setup(): void {
  execFileSync(PYTHON, [join(ROOT, "tests", "recordings.py"), join(ROOT, "build", "recordings.json")], { cwd: ROOT, stdio: "inherit" });
}
