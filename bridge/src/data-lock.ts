/**
 * One bridge process for one data folder: two that run the same chip throw each other out (440) and mix its keys.
 *
 * The lock names its holder by process id and start time (Linux: field 22 of /proc/pid/stat), so that a lock left by
 * `kill -9` does not bind, not even when another process got the same id since.
 */

import { readFileSync, rmSync, writeFileSync } from 'node:fs'

export class DataLockTaken extends Error {}

const START_TIME_FIELD = 22

export class DataLock {
  readonly #path: string

  private constructor(path: string) {
    this.#path = path
  }

  /** Throws DataLockTaken while its holder lives. */
  static take(path: string): DataLock {
    const me = `${process.pid} ${startTimeOf(process.pid)}`
    try {
      writeFileSync(path, me, { flag: 'wx', mode: 0o600 })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      const holder = readFileSync(path, 'utf8')
      if (isAlive(holder)) throw new DataLockTaken(`another bridge (process ${holder.split(' ')[0] ?? ''}) uses this data folder`)
      writeFileSync(path, me)
    }
    return new DataLock(path)
  }

  release(): void {
    rmSync(this.#path, { force: true })
  }
}

function isAlive(holder: string): boolean {
  const [pid, startTime] = holder.split(' ')
  if (!pid || Number(pid) === process.pid) return false
  return startTimeOf(Number(pid)) === startTime
}

/** Empty when there is no such process. Without /proc only the process id itself can be asked for. */
function startTimeOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[START_TIME_FIELD - 3] ?? ''
  } catch {
    return process.platform === 'linux' ? '' : signalable(pid)
  }
}

function signalable(pid: number): string {
  try {
    process.kill(pid, 0)
    return 'running'
  } catch {
    return ''
  }
}
