create or replace function howdah.why(id bigint) returns table (code text, reason text, advice text)
language plpgsql stable
as $$
#variable_conflict use_column
declare
  t       howdah.task;
  old     howdah.archive;
  paused  howdah.queue;
  live    int;
  ahead   bigint;
  places  int;
  busy    bigint;
  disabled boolean;
  clock   timestamptz := howdah.now();
  end_by  timestamptz;
begin
  select * into t from howdah.task x where x.id = why.id;
  if not found then
    select * into old from howdah.archive a where a.id = why.id;
    if not found then
      raise exception using errcode = 'HW004', message = format('there is no task %s', why.id),
        hint = 'It never existed, was rolled back, or its retention is over';
    end if;
    return query select 'ended', format('It ended: %s at %s%s', old.status, old.finished_at, coalesce(', ' || old.reason, '')), 'Nothing to do';
    return;
  end if;

  if t.status in ('queued', 'suspended') and t.late in ('drop', 'park') then
    end_by := case when t.epoch = 0 then least(t.start_before, t.finish_before) else t.finish_before end;
    if end_by <= clock then
      return query select 'late', format('It was to %s before %s: the next worker that looks %s it',
          case when t.epoch = 0 and t.start_before = end_by then 'begin' else 'end' end, end_by, case t.late when 'drop' then 'drops' else 'parks' end),
        format('To run it all the same: howdah retry %s', t.id);
      return;
    elsif end_by is not null then
      return query select 'deadline', format('If it has not %s by %s (%s from now), it is %s',
          case when t.epoch = 0 and t.start_before = end_by then 'begun' else 'ended' end, end_by, date_trunc('second', end_by - clock),
          case t.late when 'drop' then 'dropped' else 'parked' end),
        format('To run it now, without a deadline: howdah retry %s', t.id);
    end if;
  end if;

  if t.status = 'failed' then
    return query select 'failed', format('It is parked after %s: %s',
        case when t.attempt = 1 then '1 attempt' else t.attempt || ' attempts' end, t.error),
      format('Mend the cause, then: howdah retry %s, or UPDATE howdah.task SET error = NULL WHERE id = %s', t.id, t.id);
    return;
  elsif t.status = 'running' then
    if t.cancel_at is not null then
      return query select 'cancelling', format('It is running and was asked to cancel at %s', t.cancel_at),
        'It ends when its handler stops; a handler in a thread must look at ctx.cancelled';
    else
      return query select 'running', format('It is running since %s on worker %s (%s)', t.claimed_at, t.worker,
          (select format('%s, pid %s, lease until %s', w.host, w.pid, w.lease_until) from howdah.worker w where w.id = t.worker)),
        'Nothing to do; howdah watch ' || t.id || ' follows it';
    end if;
    return;
  elsif t.status = 'suspended' then
    if t.epoch = 0 and t.tick is not null then
      return query select 'in line', format('It waits for task %s of the same schedule to end', x.id),
          format('See it: howdah show %s; or run this one now: howdah retry %s', x.id, t.id)
        from howdah.task x
       where x.source = t.source and x.status <> 'failed' and x.id <> t.id
         and (x.status <> 'suspended' or x.epoch > 0 or x.tick < t.tick)         -- not those behind it
       order by x.tick limit 1;
      if not found then
        return query select 'in line', 'It is the next of its schedule, and goes on as soon as a worker looks',
          'If this lasts, no worker is alive: howdah workers';
      end if;
      return;
    elsif t.joining then
      return query select 'joining', format('It waits for %s of its children to end', t.children),
        'See them: howdah ls --parent ' || t.id;
    else
      return query select 'suspended', 'It waits for a message' || case when isfinite(t.run_at) then format(', until %s (%s from now)', t.run_at, date_trunc('second', t.run_at - clock)) else '' end,
        format('Send it one: howdah send %s ''…''; or run it now: howdah retry %s', t.id, t.id);
    end if;
    return;
  end if;

  if t.run_at > clock then
    -- A task that was resumed for later has no attempt behind it, though an error.
    if t.last_error is not null and t.attempt > 0 then
      return query select 'back-off', format('It waits until %s (%s from now) after attempt %s failed: %s',
          t.run_at, date_trunc('second', t.run_at - clock), t.attempt, t.last_error),
        format('Wait, or run it now: howdah retry %s', t.id);
    else
      return query select 'not due', format('It is due at %s, %s from now', t.run_at, date_trunc('second', t.run_at - clock)),
        format('Wait, or run it now: howdah retry %s', t.id);
    end if;
  end if;
  select * into paused from howdah.queue q where q.name = t.queue and q.paused;
  if found then
    return query select 'queue paused', format('Queue %s is paused since %s by %s%s', t.queue, paused.paused_at, paused.paused_by,
      coalesce(': ' || paused.reason, '')), format('howdah resume %s', t.queue);
  end if;
  return query select 'kind disabled', format('Kind %s is disabled since %s by %s%s', k.name, k.disabled_at, k.disabled_by,
      coalesce(': ' || k.disabled_reason, '')), format('howdah enable %s', k.name)
    from howdah.kind k where k.name = t.kind and k.disabled_at is not null;
  disabled := found;
  select q.max_running into places from howdah.queue q where q.name = t.queue;
  if places is not null then
    select count(*) into busy from howdah.task x where x.status = 'running' and x.queue = t.queue;
    if busy >= places then
      return query select 'queue full', format('Queue %s may run %s at once, and %s run', t.queue, places, busy),
        format('Wait, or raise it: SELECT howdah.set_queue(%L, running => %s)', t.queue, places + 1);
      return;
    end if;
  end if;
  if t.groups is not null and paused.name is null then
    return query select * from howdah.gates(t);
    if found then
      return;
    end if;
  end if;
  select count(*) into live from howdah.worker w where w.status = 'live' and w.lease_until > clock and w.stop_at is null;
  if live = 0 then
    return query select 'no worker', 'No worker is alive', 'Start one: howdah worker your_module:app';
  elsif not exists (select from howdah.worker w where w.status = 'live' and w.lease_until > clock and w.stop_at is null and t.kind = any (w.kinds)) then
    return query select 'unknown kind', format('None of the %s live workers knows kind %s', live, t.kind),
      'Import the module of its handler in a worker, and start that';
  elsif not exists (select from howdah.worker w where w.status = 'live' and w.lease_until > clock and w.stop_at is null and t.kind = any (w.kinds)
                       and (w.queues is null or w.queues ? t.queue)) then
    return query select 'queue not served', format('No live worker that knows kind %s serves queue %s', t.kind, t.queue),
      format('Start one with -q %s', t.queue);
  elsif t.run_at <= clock and paused.name is null and not disabled then
    if t.groups is null then
      select count(*) into ahead from (
        select from howdah.task x
         where x.status = 'queued' and x.groups is null and x.queue = t.queue and x.run_at <= clock
           and (x.priority > t.priority or x.priority = t.priority and (x.run_at, x.id) < (t.run_at, t.id)) limit 10001) before_it;
    else
      -- Those of other groups are before and behind it in turns.
      select count(*) into ahead from (
        select from howdah.task x
         where x.status = 'queued' and x.groups is not null and x.queue = t.queue and x.run_at <= clock and x.groups = t.groups
           and (x.priority > t.priority or x.priority = t.priority and (x.run_at, x.id) < (t.run_at, t.id)) limit 10001) before_it;
    end if;
    if ahead > 0 then
      return query select 'in line', format('It is due; %s due tasks of %s are before it', case when ahead > 10000 then 'more than 10,000' else ahead::text end,
                                            case when t.groups is null then 'queue ' || t.queue else 'its groups (' || array_to_string(t.groups, ', ') || ')' end),
        'Wait, start more workers, or raise its priority';
    else
      return query select 'next', 'It is due and first in line: a worker with a free slot takes it at its next look',
        'If this lasts, every worker that serves it is full: howdah workers';
    end if;
  end if;
end
$$;
comment on function howdah.why(bigint) is 'Why a task is not running, in words, with the thing to do: one row per reason.';
