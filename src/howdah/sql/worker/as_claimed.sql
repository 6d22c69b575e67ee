create or replace function howdah.as_claimed(t howdah.task, clock timestamptz) returns json
language sql stable
as $$
  select json_build_array(t.id, t.epoch, t.kind, t.queue, t.step, t.step_no, t.attempt, t.key, t.last_error, t.payload, t.parent, t.tick,
                          extract(epoch from t.finish_before - clock), t.late)
$$;
comment on function howdah.as_claimed(howdah.task, timestamptz) is
  'A claimed task as workers read it: [id, epoch, kind, queue, step, step_no, attempt, key, last_error, payload, parent, tick, seconds left until its deadline, what becomes of it then].';
