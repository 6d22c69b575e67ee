create or replace function howdah.set_queue(
  queue   text,
  running int default null,
  fair    boolean default null,
  ageing  interval default null
) returns void
language plpgsql
as $$
#variable_conflict use_column
begin
  if coalesce(length(set_queue.queue), 0) not between 1 and 200 then
    raise exception using errcode = 'HW002', message = 'queue must be a name of 1 to 200 characters',
      hint = 'SELECT name FROM howdah.queues lists those in use';
  elsif set_queue.running < 0 then
    raise exception using errcode = 'HW002', message = format('running must be at least 1, not %s', set_queue.running),
      hint = format('0 takes the limit away; to let nothing run: howdah pause %s', set_queue.queue);
  elsif set_queue.ageing < '0' then
    raise exception using errcode = 'HW002', message = format('ageing must not be negative: %s', set_queue.ageing), hint = '0 turns it off';
  end if;
  insert into howdah.queue as q (name, max_running, fair, ageing)
  values (set_queue.queue, nullif(set_queue.running, 0), coalesce(set_queue.fair, false), nullif(set_queue.ageing, '0'))
  on conflict (name) do update
     set max_running = case when set_queue.running is null then q.max_running else excluded.max_running end,
         fair = coalesce(set_queue.fair, q.fair),
         ageing = case when set_queue.ageing is null then q.ageing else excluded.ageing end
   where (q.max_running, q.fair, q.ageing) is distinct from
         (case when set_queue.running is null then q.max_running else excluded.max_running end, coalesce(set_queue.fair, q.fair),
          case when set_queue.ageing is null then q.ageing else excluded.ageing end);
  perform howdah.wake(set_queue.queue);
end
$$;
comment on function howdah.set_queue(text, int, boolean, interval) is
  'How a queue is worked, in the whole fleet: at most so many of its tasks run at once (0: no limit); fair: its groups take turns within a priority; ageing: a task counts one priority higher for each such time that it has waited (0: never). What is NULL stays as it is.';
