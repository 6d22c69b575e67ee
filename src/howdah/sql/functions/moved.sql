-- What was said of one task alone stays; what it has from its step follows the step.
create or replace function howdah.moved(live howdah.task, changed howdah.task, payload jsonb, step text, queue text, priority int) returns howdah.task
language plpgsql
as $$
declare
  here  howdah.kind := howdah.rules(live.kind, live.step);
  there howdah.kind;
  own   jsonb;
  usual text[];
begin
  perform howdah.check_fields(live.kind, moved.step, moved.payload);
  there := howdah.known_step(live.kind, moved.step);
  begin
    usual := howdah.filled_groups(here.groups, live.payload);
  exception when sqlstate 'HW003' then
    usual := live.groups;                             -- the payload that is mended here may be the reason
  end;
  if usual is not distinct from live.groups then
    changed.groups := howdah.filled_groups(there.groups, moved.payload);
  end if;
  if moved.step is distinct from live.step then
    own := (select k.steps -> moved.step from howdah.kind k where k.name = live.kind);
    -- As when it moves there by itself: what was enqueued elsewhere stays there, unless the step has a queue of its own.
    if moved.queue is null and (live.queue = here.queue or own ? 'queue') then
      changed.queue := there.queue;
    end if;
    if moved.priority is null and (live.priority = here.priority or own ? 'priority') then
      changed.priority := there.priority;
    end if;
    if live.cost is not distinct from here.cost then
      changed.cost := there.cost;
    end if;
  end if;
  changed.payload := moved.payload;
  changed.step := moved.step;
  -- Another payload is another piece of work, with an idempotency key of its own.
  changed.step_no := live.step_no + 1;
  if live.status <> 'failed' then
    changed.attempt := 0;
    changed.lost := 0;
  end if;
  return changed;
end
$$;
comment on function howdah.moved(howdah.task, howdah.task, jsonb, text, text, int) is
  'A task with another payload or step, and what follows from that: fields that fit, groups, queue, priority, cost, an idempotency key of its own. Errors: HW002 unknown step, HW003 payload.';
