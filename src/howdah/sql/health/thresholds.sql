-- Whoever says when it is yellow and not when it is red means the same distance between the two as there is by default.
create or replace function howdah.thresholds(
  warn  jsonb,
  alarm jsonb,
  out wait_warn     double precision,
  out wait_alarm    double precision,
  out retries_warn  double precision,
  out retries_alarm double precision,
  out failed_warn   double precision,
  out failed_alarm  double precision
)
language plpgsql immutable
as $$
declare
  said  constant jsonb := coalesce(thresholds.warn, '{}');
  alert constant jsonb := coalesce(thresholds.alarm, '{}');
begin
  wait_alarm    := case when jsonb_typeof(alert -> 'wait') = 'number' then (alert -> 'wait')::float8 end;
  retries_alarm := case when jsonb_typeof(alert -> 'retries') = 'number' then (alert -> 'retries')::float8 end;
  failed_alarm  := case when jsonb_typeof(alert -> 'failed') = 'number' then (alert -> 'failed')::float8 end;
  wait_warn     := coalesce(case when jsonb_typeof(said -> 'wait') = 'number' then (said -> 'wait')::float8 end, least(60, wait_alarm));
  retries_warn  := coalesce(case when jsonb_typeof(said -> 'retries') = 'number' then (said -> 'retries')::float8 end, least(3, retries_alarm));
  failed_warn   := coalesce(case when jsonb_typeof(said -> 'failed') = 'number' then (said -> 'failed')::float8 end, least(1, failed_alarm));
  wait_alarm    := coalesce(wait_alarm, 10 * wait_warn);
  failed_alarm  := coalesce(failed_alarm, 100 * failed_warn);
end
$$;
comment on function howdah.thresholds(jsonb, jsonb) is
  'From where on a kind is yellow and red, of what its row says in warn and alarm, and by default: a due task that waits for 1 minute and 10 minutes; 3 retries and never; 1 parked task and 100.';
