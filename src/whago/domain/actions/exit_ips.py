"""Exit IPs: what was seen behind each assignment, and what follows when it changes or is not the chip's alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.orm import Session

from whago.domain.models import Assignment, Chip, ExitIpDuplicate, ExitIpObservation, Provider
from whago.domain.models.alerting import Severity, clear_alert, raise_alert
from whago.domain.models.assigning import ASSIGNING, active_assignment, move, note
from whago.domain.models.owning import lock_any_chip, lock_chip
from whago.domain.rules.bills import day_bounds
from whago.domain.rules.continuity import DUPLICATE_REST, VOLUNTARY_ENDS, ExitPolicy, Meaning, judge, may_move_off
from whago.errors import WhagoError
from whago.kit.db import locked, signal, transaction

CHANGED: Final = "exit_ip_changed"  # alert and chip event
DUPLICATE: Final = "duplicate_exit_ip"  # alert, and the reason of the move that ends it
DAYS_ROLLED: Final = 3  # today, and the two days before: a look that was late still finds its day open


@dataclass(frozen=True, slots=True)
class Observed:
    """``shared_with``: other active assignments that were last seen on the same address: to be looked at again."""

    meaning: Meaning
    is_paused: bool = False
    shared_with: Sequence[UUID] = ()


def observe_exit_ip(
    assignment_id: UUID, exit_ip: str, *, country: str | None, asn: str | None, now: datetime
) -> Observed | None:
    """Records what the world saw and acts by the provider's policy. None: the assignment has ended meanwhile."""
    with transaction() as db:
        row = db.execute(
            select(Assignment, Chip, Provider.exit_ip_policy)
            .join(Chip, Chip.id == Assignment.chip_id)
            .join(Provider, Provider.id == Assignment.provider_id)
            .where(Assignment.id == assignment_id, Assignment.released_at.is_(None), Chip.deleted_at.is_(None))
            .with_for_update(of=Assignment)
        ).one_or_none()
        if row is None:
            return None
        assignment, chip, policy = row
        last = str(assignment.exit_ip) if assignment.exit_ip is not None else None
        meaning = judge(
            exit_ip,
            last=last,
            expected=str(assignment.expected_exit_ip) if assignment.expected_exit_ip is not None else last,
            changed_at=assignment.exit_ip_changed_at,
            is_paused=assignment.paused_at is not None,
            now=now,
        )
        _keep_stretch(db, assignment, exit_ip, country, asn, now)
        assignment.exit_ip = exit_ip
        _follow(db, assignment, chip, ExitPolicy(policy), meaning, last, now)
        return Observed(meaning, assignment.paused_at is not None, _sharers(db, assignment))


def accept_exit_ip(owner_id: UUID, chip_id: UUID, *, now: datetime) -> None:
    """The owner takes the new exit for the chip's own: it may leave again. Raises WhagoError: not_found, not_paused."""
    with transaction() as db:
        chip = lock_chip(db, owner_id, chip_id)
        assignment = active_assignment(db, chip.id)
        if assignment is None or assignment.paused_at is None:
            raise WhagoError("not_paused")
        assignment.expected_exit_ip = assignment.exit_ip
        note(db, chip.id, "exit_ip_accepted", now, exit_ip=str(assignment.exit_ip))
        _settle(db, assignment, now)


def settle_duplicate(first_id: UUID, second_id: UUID, *, now: datetime) -> bool | None:
    """Two assignments were just seen on one exit: told, and the younger one is moved, once. Returns whether it was.

    None: they do not share it, so nothing happened.
    """
    with transaction() as db:
        locked(db, ASSIGNING)
        pair = db.scalars(
            select(Assignment)
            .where(Assignment.id.in_([first_id, second_id]), Assignment.released_at.is_(None))
            .order_by(Assignment.assigned_at, Assignment.id)
        ).all()
        if len(pair) < 2 or pair[0].exit_ip is None or pair[0].exit_ip != pair[1].exit_ip:
            return None
        older, younger = pair
        chip = lock_any_chip(db, younger.chip_id)
        found = _duplicate(db, older, younger, now)
        data = {"alias": chip.alias, "exit_ip": str(younger.exit_ip), "chip_id": str(chip.id)}
        raise_alert(
            db, DUPLICATE, str(younger.exit_ip), now=now, severity=Severity.ERROR, user_id=chip.user_id, to_admins=True,
            data=data,
        )  # fmt: skip
        if may_move_off(str(younger.exit_ip), _moved_lately(db, chip, now)) and _moved_off(db, chip, younger, now):
            found.rotated_at = now
            return True
        return False


def close_settled(*, now: datetime) -> int:
    """Ends what is over: shared exits that no longer are, and changes of assignments that have ended. Returns both."""
    with transaction() as db:
        return _close_duplicates(db, now) + _close_changes(db, now)


def roll_exit_ip_days(*, now: datetime, tz: ZoneInfo) -> int:
    """Counts the last days' chips and those among them whose exit stayed; returns how many rows stand for them."""
    today = now.astimezone(tz).date()
    with transaction() as db:
        return sum(_roll(db, today - timedelta(days=back), tz) for back in range(DAYS_ROLLED))


def _keep_stretch(
    db: Session, assignment: Assignment, exit_ip: str, country: str | None, asn: str | None, now: datetime
) -> None:
    last = db.scalar(
        select(ExitIpObservation)
        .where(ExitIpObservation.assignment_id == assignment.id)
        .order_by(ExitIpObservation.first_seen_at.desc())
        .limit(1)
    )
    if last is not None and str(last.exit_ip) == exit_ip:
        last.last_seen_at, last.observations = now, last.observations + 1
        last.country, last.asn = country or last.country, asn or last.asn
        return
    db.add(
        ExitIpObservation(
            chip_id=assignment.chip_id,
            assignment_id=assignment.id,
            exit_ip=exit_ip,
            country=country,
            asn=asn,
            first_seen_at=now,
            last_seen_at=now,
        )
    )


def _follow(
    db: Session,
    assignment: Assignment,
    chip: Chip,
    policy: ExitPolicy,
    meaning: Meaning,
    before: str | None,
    now: datetime,
) -> None:
    if meaning is Meaning.FIRST:
        assignment.expected_exit_ip = assignment.exit_ip
    elif meaning is Meaning.CHANGED:
        _changed(db, assignment, chip, policy, before, now)
    elif meaning is Meaning.RETURNED:
        note(db, chip.id, "exit_ip_returned", now, before=before, after=str(assignment.exit_ip))
        _settle(db, assignment, now)
    elif meaning is Meaning.SETTLED:
        _settle(db, assignment, now)


def _changed(
    db: Session, assignment: Assignment, chip: Chip, policy: ExitPolicy, before: str | None, now: datetime
) -> None:
    after = str(assignment.exit_ip)
    note(db, chip.id, CHANGED, now, before=before, after=after, policy=policy.value)
    if policy is ExitPolicy.PAUSE:
        expected = str(assignment.expected_exit_ip or before)
        assignment.expected_exit_ip = expected
        if assignment.paused_at is None:
            assignment.paused_at = now
            note(db, chip.id, "paused", now, reason=CHANGED)
            signal(db, "chip", chip.id)
    elif assignment.paused_at is None:
        assignment.expected_exit_ip = after
    if policy is ExitPolicy.TOLERATE:
        return
    assignment.exit_ip_changed_at = now
    raise_alert(
        db,
        CHANGED,
        str(chip.id),
        now=now,
        severity=Severity.ERROR if policy is ExitPolicy.PAUSE else Severity.WARNING,
        user_id=chip.user_id,
        data={
            "alias": chip.alias,
            "chip_id": str(chip.id),
            "before": before,
            "after": after,
            "paused": policy is ExitPolicy.PAUSE,
        },
    )


def _settle(db: Session, assignment: Assignment, now: datetime) -> None:
    was_paused = assignment.paused_at is not None
    assignment.exit_ip_changed_at = assignment.paused_at = None
    clear_alert(db, CHANGED, str(assignment.chip_id), now=now, data={"after": str(assignment.exit_ip)})
    if was_paused:
        note(db, assignment.chip_id, "resumed", now)
        signal(db, "chip", assignment.chip_id)


def _sharers(db: Session, assignment: Assignment) -> list[UUID]:
    """What comes back is only a suspicion: the others may have left the address since they were looked at."""
    query = (
        select(Assignment.id)
        .join(Chip, Chip.id == Assignment.chip_id)
        .where(
            Assignment.exit_ip == assignment.exit_ip,
            Assignment.released_at.is_(None),
            Assignment.id != assignment.id,
            Chip.deleted_at.is_(None),
        )
        .order_by(Assignment.assigned_at, Assignment.id)
    )
    return list(db.scalars(query))


def _duplicate(db: Session, older: Assignment, younger: Assignment, now: datetime) -> ExitIpDuplicate:
    """The open record of this pair, made when there is none. The caller holds the lock of assignments."""
    standing = db.scalars(
        select(ExitIpDuplicate).where(
            ExitIpDuplicate.exit_ip == younger.exit_ip,
            ExitIpDuplicate.younger_assignment_id == younger.id,
            ExitIpDuplicate.over_at.is_(None),
        )
    ).one_or_none()
    if standing is not None:
        return standing
    made = ExitIpDuplicate(
        exit_ip=younger.exit_ip,
        older_assignment_id=older.id,
        younger_assignment_id=younger.id,
        younger_chip_id=younger.chip_id,
        younger_provider_id=younger.provider_id,
        found_at=now,
    )
    db.add(made)
    return made


def _moved_lately(db: Session, chip: Chip, now: datetime) -> list[str]:
    query = select(ExitIpDuplicate.exit_ip).where(
        ExitIpDuplicate.younger_chip_id == chip.id, ExitIpDuplicate.rotated_at > now - DUPLICATE_REST
    )
    return [str(exit_ip) for exit_ip in db.scalars(query)]


def _moved_off(db: Session, chip: Chip, younger: Assignment, now: datetime) -> bool:
    """Where the pool has no other place the chip stays, and the alert stays open."""
    avoid = [younger.proxy_id] if younger.is_exclusive else []
    try:
        with db.begin_nested():
            move(db, chip, reason=DUPLICATE, now=now, avoid=avoid)
    except WhagoError as error:
        if error.code != "no_healthy_proxy":
            raise
        return False
    return True


def _close_duplicates(db: Session, now: datetime) -> int:
    standing = db.scalars(
        select(ExitIpDuplicate).where(ExitIpDuplicate.over_at.is_(None)).with_for_update(skip_locked=True)
    ).all()
    over = [one for one in standing if not _is_shared(db, one)]
    for one in over:
        one.over_at = now
    kept = {str(one.exit_ip) for one in standing if one.over_at is None}
    for exit_ip in sorted({str(one.exit_ip) for one in over} - kept):
        clear_alert(db, DUPLICATE, exit_ip, now=now)
    return len(over)


def _is_shared(db: Session, one: ExitIpDuplicate) -> bool:
    """Whether two chips still show it, or the one that was moved has not been looked at yet."""
    living = (
        select(func.count())
        .select_from(Assignment)
        .join(Chip, Chip.id == Assignment.chip_id)
        .where(Assignment.released_at.is_(None), Chip.deleted_at.is_(None))
    )
    if (db.scalar(living.where(Assignment.exit_ip == one.exit_ip)) or 0) >= 2:
        return True
    if one.rotated_at is None:
        return False
    unseen = living.where(Assignment.chip_id == one.younger_chip_id, Assignment.exit_ip.is_(None))
    return bool(db.scalar(unseen))


def _close_changes(db: Session, now: datetime) -> int:
    """A chip that was moved or deleted no longer has the exit that its alert is about."""
    ended = db.scalars(
        select(Assignment)
        .where(Assignment.exit_ip_changed_at.is_not(None), Assignment.released_at.is_not(None))
        .with_for_update(skip_locked=True)
    ).all()
    for assignment in ended:
        assignment.exit_ip_changed_at = assignment.paused_at = None
        clear_alert(db, CHANGED, str(assignment.chip_id), now=now, tell=False)
    return len(ended)


_ROLL: Final = text("""
WITH seen AS (
    SELECT a.provider_id, o.chip_id,
           bool_or(o.first_seen_at >= :begins AND EXISTS (
               SELECT FROM exit_ip_observations before
               WHERE before.assignment_id = o.assignment_id AND before.first_seen_at < o.first_seen_at)) AS changed,
           bool_or(a.released_at >= :begins AND a.released_at < :ends
                   AND NOT a.release_reason = ANY(:voluntary)) AS lost
    FROM exit_ip_observations o JOIN chip_proxy_assignments a ON a.id = o.assignment_id
    WHERE o.first_seen_at < :ends AND o.last_seen_at >= :begins
    GROUP BY a.provider_id, o.chip_id
)
INSERT INTO exit_ip_days (provider_id, day, chip_days, steady_chip_days)
SELECT provider_id, :day, count(*), count(*) FILTER (WHERE NOT changed AND NOT coalesce(lost, false))
FROM seen GROUP BY provider_id
ON CONFLICT (provider_id, day) DO UPDATE
    SET chip_days = excluded.chip_days, steady_chip_days = excluded.steady_chip_days
RETURNING provider_id
""").bindparams(bindparam("voluntary", sorted(VOLUNTARY_ENDS)))


def _roll(db: Session, day: date, tz: ZoneInfo) -> int:
    begins, ends = day_bounds(day, tz)
    return len(db.execute(_ROLL, {"day": day, "begins": begins, "ends": ends}).all())
