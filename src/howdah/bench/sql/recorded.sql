-- What the workers of a fleet have done since the last forget.
select count(*) as ended, extract(epoch from max(finished_at) - min(claimed_at))::double precision as seconds
  from howdah.archive where queue like 'bench%';
