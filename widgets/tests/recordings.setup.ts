// What the tests share with the Python side, made before them: recordings of runs, the hostile strings, and where graphs are drawn.
import { execFileSync } from "node:child_process";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..", "..");
const PYTHON = join(ROOT, ".venv", "bin", "python");

export default function setup(): void {
  for (const name of ["recordings", "hostile", "graphs"])
    execFileSync(PYTHON, [join(ROOT, "tests", `${name}.py`), join(ROOT, "build", `${name}.json`)], { cwd: ROOT, stdio: "inherit" });
}
